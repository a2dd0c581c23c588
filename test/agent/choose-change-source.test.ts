import fc from "fast-check";
import { expect, test } from "vitest";
import { mergeRanges, readChangeList, totalBytes, writeChangeList } from "../../lib/agent/change-list.ts";
import {
  chooseChangeSource,
  type ChangeSourceFacts,
} from "../../lib/agent/operations/choose-change-source.ts";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { temporaryFolder } from "./bench.ts";

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

test("merged ranges cover exactly the same bytes, ascending and apart", () => {
  const range = fc.record({ offsetBytes: fc.nat(200), lengthBytes: fc.integer({ min: 1, max: 40 }) });
  fc.assert(
    fc.property(fc.array(range), (ranges) => {
      const bytesOf = (list: readonly { offsetBytes: number; lengthBytes: number }[]) =>
        new Set(
          list.flatMap(({ offsetBytes, lengthBytes }) =>
            Array.from({ length: lengthBytes }, (_, i) => offsetBytes + i),
          ),
        );
      const merged = mergeRanges(ranges);
      expect(bytesOf(merged)).toEqual(bytesOf(ranges));
      expect(totalBytes(merged)).toBe(bytesOf(ranges).size);
      for (const [index, each] of merged.entries()) {
        const next = merged[index + 1];
        if (next !== undefined) expect(each.offsetBytes + each.lengthBytes).toBeLessThan(next.offsetBytes);
      }
    }),
  );
});

test("a change list is read back as it was written, and not at all when a byte of it changed", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "runs", "a.changes");
  const ranges = [
    { offsetBytes: 0, lengthBytes: 512 },
    { offsetBytes: 64 * 2 ** 40 - 512, lengthBytes: 512 },
  ];
  const digest = await writeChangeList(file, ranges);
  expect(await readChangeList(file, digest)).toEqual(ranges);
  await writeFile(file, Buffer.alloc(32));
  await expect(readChangeList(file, digest)).rejects.toMatchObject({ code: "AGENT_DATA_INVALID" });
});
