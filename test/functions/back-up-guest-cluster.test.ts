import { describe, expect, test } from "vitest";
import { backUpGuestCluster } from "../../functions/orchestrators/back-up-guest-cluster.ts";
import { driveOrchestrator, failure, type Answer, type Asked } from "./drive-orchestrator.ts";

const disk = "00000000-0000-4000-8000-000000000001";
const vm = "00000000-0000-4000-8000-0000000000aa";
const request = {
  clusterId: "sql",
  runId: "20261123t020000z-0a1b2c3d",
  requested: "incremental",
  trigger: "request",
};
const sizes = {
  allocatedBytes: 9,
  changedBytes: 1,
  changedChunkBytes: 1,
  readBytes: 1,
  newChunkBytes: 1,
  uploadedBytes: 1,
};
const oldReference = { id: "old", rctId: "rct-old" };
const newReference = { id: "new", rctId: "rct-new" };
const leftover = { kind: "storage-snapshot", id: "s1", subject: "volume", remedy: "delete it" };

/** What every step answers on a good night. */
const GOOD: Readonly<Record<string, unknown>> = {
  claimGuestCluster: { kind: "claimed" },
  recordRun: {},
  planBackup: {
    cluster: { id: "sql", agentId: "host-1", members: [vm] },
    previous: {
      manifest: "manifests/sql/before",
      disks: [{ diskId: disk, virtualSizeBytes: 9, mapRoot: "a".repeat(64), referencePoint: oldReference }],
    },
  },
  preflight: { findings: [] },
  "consistency-point": {
    consistency: "application",
    storageSnapshots: 1,
    members: [
      {
        vmId: vm,
        name: "sql-01",
        configurationVersion: "10.0",
        consistency: "application",
        frozenAt: "2026-11-23T02:00:01.000Z",
        thawedAt: "2026-11-23T02:00:01.040Z",
        frozenMs: 40,
      },
    ],
    disks: [
      {
        diskId: disk,
        label: "data.vhds",
        shared: true,
        attachedTo: [vm],
        virtualSizeBytes: 9,
        logicalSectorBytes: 512,
        physicalSectorBytes: 4096,
        blockBytes: 1048576,
      },
    ],
  },
  "update-references": { disks: [{ diskId: disk, referencePoint: newReference }] },
  "change-ranges": {
    disks: [{ diskId: disk, source: { kind: "rct", since: "old" }, changedBytes: 1, ranges: 1 }],
  },
  ship: { disks: [{ diskId: disk, mapRoot: "b".repeat(64), sizes }] },
  commitRestorePoint: { manifest: "manifests/sql/now" },
  "clean-up": { leftovers: [] },
  undo: { undone: ["checkpoint"], leftovers: [] },
  releaseGuestCluster: {},
};

function night(changes: Readonly<Record<string, Answer>> = {}) {
  const answer = ({ name }: Asked): Answer => changes[name] ?? { value: GOOD[name] };
  return driveOrchestrator(backUpGuestCluster, request, answer);
}

const names = (asked: readonly Asked[]) => asked.map(({ name }) => name);
const inputOf = (asked: readonly Asked[], name: string) => asked.find((each) => each.name === name)?.input;

test("a good night takes the steps in their order and commits before it cleans up", () => {
  const { record, asked } = night();
  expect(record).toMatchObject({ state: "committed", restorePoint: "manifests/sql/now", leftovers: [] });
  expect(names(asked)).toEqual([
    "claimGuestCluster",
    "recordRun",
    "planBackup",
    "preflight",
    "consistency-point",
    "update-references",
    "change-ranges",
    "ship",
    "commitRestorePoint",
    "clean-up",
    "recordRun",
    "releaseGuestCluster",
  ]);
  expect(record.steps.every(({ outcome }) => outcome === "succeeded")).toBe(true);
});

test("changes are asked for since the reference point of the last manifest, and shipped against its maps", () => {
  const { asked } = night();
  expect(inputOf(asked, "change-ranges")).toMatchObject({
    input: { previous: [{ diskId: disk, referencePoint: oldReference }] },
  });
  expect(inputOf(asked, "ship")).toMatchObject({
    input: { base: [{ diskId: disk, mapRoot: "a".repeat(64) }] },
  });
});

test("the clean-up keeps exactly the reference points that the manifest names", () => {
  const { asked } = night();
  expect(inputOf(asked, "clean-up")).toMatchObject({ input: { keep: [newReference] } });
});

test("no secret and no list of ranges stands in what the orchestrator schedules", () => {
  const { asked } = night();
  expect(JSON.stringify(asked)).not.toMatch(/https?:|sig=|"ranges":\[/);
});

describe("a refusal touches nothing", () => {
  test("when another control plane holds the guest cluster", () => {
    const held = { kind: "held", byRun: "r", byControlPlane: "other" };
    const { record, asked } = night({ claimGuestCluster: { value: held } });
    expect(record).toMatchObject({ state: "refused", error: { code: "GUEST_CLUSTER_HELD" } });
    expect(names(asked)).toEqual(["claimGuestCluster", "recordRun"]);
  });

  test("when the preflight found causes: all are in the record, and the claim is released", () => {
    const finding = {
      code: "PREFLIGHT_VM_OFF",
      severity: "refuse",
      subject: "sql-01",
      message: "off",
      remedy: "start",
    };
    const { record, asked } = night({
      preflight: { value: { findings: [finding, { ...finding, subject: "sql-02" }] } },
    });
    expect(record).toMatchObject({
      state: "refused",
      error: { code: "PREFLIGHT_REFUSED", facts: { causes: 2 } },
    });
    expect(record.findings).toHaveLength(2);
    expect(names(asked).slice(-3)).toEqual(["preflight", "recordRun", "releaseGuestCluster"]);
  });
});

describe("each step failed once", () => {
  const beforeTouch = ["planBackup", "preflight"];
  const afterTouch = [
    "consistency-point",
    "update-references",
    "change-ranges",
    "ship",
    "commitRestorePoint",
  ];

  test.each(beforeTouch)("%s: the run ends undone, no undo is needed, the claim is released", (step) => {
    const { record, asked } = night({ [step]: { error: failure(step) } });
    expect(record).toMatchObject({ state: "undone", error: { message: `${step} failed` } });
    expect(names(asked)).not.toContain("undo");
    expect(names(asked).at(-1)).toBe("releaseGuestCluster");
  });

  test.each(afterTouch)(
    "%s: the agent undoes the run, nothing is committed, the claim is released",
    (step) => {
      const { record, asked } = night({ [step]: { error: failure(step) } });
      expect(record).toMatchObject({ state: "undone", error: { message: `${step} failed` } });
      expect(record.restorePoint).toBeUndefined();
      expect(names(asked)).toContain("undo");
      expect(names(asked)).not.toContain("clean-up");
      expect(names(asked).at(-1)).toBe("releaseGuestCluster");
    },
  );

  test.each(afterTouch)("%s thrown by the runtime instead of reported: the same", (step) => {
    const { record, asked } = night({ [step]: { thrown: new Error(`${step} fell`) } });
    expect(record).toMatchObject({
      state: "undone",
      error: { code: "ACTIVITY_FAILED", message: `${step} fell` },
    });
    expect(names(asked)).toContain("undo");
  });

  test("clean-up: the restore point stands, and the run is not reported as plain success", () => {
    const { record, asked } = night({ "clean-up": { error: failure("clean-up") } });
    expect(record).toMatchObject({ state: "committed-with-leftovers", restorePoint: "manifests/sql/now" });
    expect(names(asked)).not.toContain("undo");
  });
});

test("a record that cannot be written changes nothing else: the run commits and the claim is released", () => {
  const { record, asked } = night({ recordRun: { thrown: new Error("container is read-only") } });
  expect(record.state).toBe("committed");
  expect(names(asked).at(-1)).toBe("releaseGuestCluster");
});

test("a failed undo is reported beside the first error", () => {
  const { record } = night({ ship: { error: failure("ship") }, undo: { error: failure("undo") } });
  expect(record).toMatchObject({
    state: "failed",
    error: { message: "ship failed" },
    undoError: { message: "undo failed" },
  });
});

test.each([
  ["clean-up", "committed-with-leftovers", {}],
  ["undo", "failed", { ship: { error: failure("ship") } }],
])("a leftover that %s reports makes the run %s", (step, state, others) => {
  const { record } = night({ ...others, [step]: { value: { undone: [], leftovers: [leftover] } } });
  expect(record).toMatchObject({ state, leftovers: [leftover] });
});

test("a first backup knows no previous disks", () => {
  const first = { cluster: { id: "sql", agentId: "host-1", members: [vm] }, previous: null };
  const { asked } = night({ planBackup: { value: first } });
  expect(inputOf(asked, "change-ranges")).toMatchObject({ input: { previous: [] } });
});
