import { describe, expect, test } from "vitest";
import type { DiskId, RunId, GuestClusterId, VmId } from "../../lib/contracts/index.ts";
import { draftRestorePoint, type StepResults } from "../../lib/orchestration/index.ts";

const request = { clusterId: "sql" as GuestClusterId, runId: "20261123t020000z-0a1b2c3d" as RunId };
const shared = "00000000-0000-4000-8000-000000000001" as DiskId;
const system = "00000000-0000-4000-8000-000000000002" as DiskId;
const vm = "00000000-0000-4000-8000-0000000000aa" as VmId;

function results(): StepResults {
  const disks = [shared, system];
  const sizes = {
    allocatedBytes: 10,
    changedBytes: 1,
    changedChunkBytes: 2,
    readBytes: 2,
    newChunkBytes: 2,
    uploadedBytes: 1,
  };
  return {
    point: {
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
      disks: disks.map((diskId) => ({
        diskId,
        label: "disk.vhdx",
        shared: diskId === shared,
        attachedTo: [vm],
        virtualSizeBytes: 1024,
        logicalSectorBytes: 512,
        physicalSectorBytes: 4096,
        blockBytes: 1024,
      })),
    },
    references: { disks: disks.map((diskId) => ({ diskId, referencePoint: { id: diskId, rctId: "rct" } })) },
    changes: {
      disks: disks.map((diskId) => ({
        diskId,
        source: { kind: "rct", since: "a" },
        changedBytes: 1,
        ranges: 1,
      })),
    },
    shipped: { disks: disks.map((diskId) => ({ diskId, mapRoot: "0".repeat(64), sizes })) },
  };
}

test("a restore point joins what every step says of each disk", () => {
  const draft = draftRestorePoint(request, results(), "before", new Date("2026-11-23T02:01:00Z"));
  expect(draft.predecessor).toBe("before");
  expect(draft.disks.map(({ diskId }) => diskId)).toEqual([shared, system]);
  expect(draft.disks[1]?.referencePoint.id).toBe(system);
});

describe("a restore point with a hole is never drafted", () => {
  test.each(["references", "changes", "shipped"] as const)("when %s lacks a disk", (step) => {
    const given = results();
    const holed = { ...given, [step]: { disks: given[step].disks.slice(1) } };
    expect(() => draftRestorePoint(request, holed, null, new Date(0))).toThrow(
      expect.objectContaining({ code: "STEP_RESULTS_DISAGREE" }),
    );
  });

  test("when two disks have the same Virtual Disk ID", () => {
    const given = results();
    const [first, second] = given.point.disks;
    const twins = {
      ...given.point,
      disks: [first!, { ...second!, diskId: first!.diskId, label: "copy.vhdx" }],
    };
    expect(() => draftRestorePoint(request, { ...given, point: twins }, null, new Date(0))).toThrow(
      "copy.vhdx",
    );
  });

  test("when a step names a disk twice instead of another", () => {
    const given = results();
    const [first] = given.shipped.disks;
    const doubled = { ...given, shipped: { disks: [first!, first!] } };
    expect(() => draftRestorePoint(request, doubled, null, new Date(0))).toThrow(
      expect.objectContaining({ code: "STEP_RESULTS_DISAGREE" }),
    );
  });
});
