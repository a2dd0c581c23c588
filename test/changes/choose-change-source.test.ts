import { expect, test } from "vitest";
import { chooseChangeSource, type ChangeSourceFacts } from "../../lib/changes/index.ts";

const reference = { id: "r1", rctId: "rct1" };
const good: ChangeSourceFacts = {
  requested: "incremental",
  virtualSizeBytes: 1024,
  previous: { virtualSizeBytes: 1024, referencePoint: reference },
  onHost: [{ id: "r0", rctId: "rct0" }, reference],
};

test.each<[string, Partial<ChangeSourceFacts>, ReturnType<typeof chooseChangeSource>]>([
  ["a known reference point", {}, { kind: "rct", since: "r1" }],
  ["a disk without restore point", { previous: undefined }, { kind: "full", reason: "first-backup" }],
  [
    "a disk without restore point, compare asked",
    { previous: undefined, requested: "compare" },
    { kind: "full", reason: "first-backup" },
  ],
  ["full asked", { requested: "full" }, { kind: "full", reason: "requested" }],
  ["compare asked", { requested: "compare" }, { kind: "compare", reason: "requested" }],
  ["another size", { virtualSizeBytes: 2048 }, { kind: "compare", reason: "disk-resized" }],
  ["a reference point that is gone", { onHost: [] }, { kind: "compare", reason: "reference-point-lost" }],
  [
    "a reference point of the same id with another RCT id",
    { onHost: [{ id: "r1", rctId: "other" }] },
    { kind: "compare", reason: "reference-point-lost" },
  ],
  [
    "a restore point without reference",
    { previous: { virtualSizeBytes: 1024, referencePoint: null } },
    { kind: "compare", reason: "reference-point-lost" },
  ],
])("%s decides the change source", (_name, changes, expected) => {
  expect(chooseChangeSource({ ...good, ...changes })).toEqual(expected);
});
