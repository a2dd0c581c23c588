import { describe, expect, test } from "vitest";
import { decidePreflight, type PreflightFacts } from "../../lib/agent/operations/decide-preflight.ts";
import type { GuestClusterInformation, VirtualMachine } from "../../lib/agent/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import { MEMBERS, newRunId, newState } from "./bench.ts";
import { fakeHost } from "./fake-host.ts";

const { machines, guestCluster, readiness } = fakeHost(newState()).answers;
const ok = <T>(value: T) => ({ ok: true, value }) as const;

const healthy: PreflightFacts = {
  ...{ runId: newRunId(), members: MEMBERS, consistency: "application", otherRuns: [] },
  ...{ machines: ok(machines), guestCluster: ok(guestCluster), readiness: ok(readiness) },
  ...{ recoveryCheckpoints: ok([]), storageSnapshots: ok([]) },
};

function findings(changes: Partial<PreflightFacts>): string[] {
  return decidePreflight({ ...healthy, ...changes }).map(({ severity, code }) => `${severity} ${code}`);
}

const firstMachine = (changes: Partial<VirtualMachine>) => {
  return {
    machines: ok(machines.map((machine, index) => (index === 0 ? { ...machine, ...changes } : machine))),
  };
};
type SharedDisk = GuestClusterInformation["sharedDisks"][number];
const everyDisk = (changes: Partial<SharedDisk>) => ({
  guestCluster: ok(
    guestCluster.map((each) => ({
      ...each,
      sharedDisks: each.sharedDisks.map((disk) => ({ ...disk, ...changes })),
    })),
  ),
});
const firstAnswer = (changes: Partial<GuestClusterInformation>) => {
  return {
    guestCluster: ok(guestCluster.map((each, index) => (index === 0 ? { ...each, ...changes } : each))),
  };
};
const volume = (freeBytes: number) => {
  return ok({ ...readiness, volumes: [{ directory: "/vm", freeBytes, usedBytes: 1_000 }] });
};
const checkpoint = (tag: string) => ok([{ snapshotCollectionId: "sc", tag, members: [], disks: [] }]);
const snapshot = (tag: string) => ok([{ storageSnapshotId: "ss", tag, volumes: [] }]);
const activeRun = { runId: newRunId(), members: [MEMBERS[1]!] };

test("a healthy guest cluster has no findings", () => {
  expect(findings({})).toEqual([]);
});

describe.each<[string, Partial<PreflightFacts>, string[]]>([
  [
    "a member that the host does not know",
    { machines: ok(machines.slice(1)) },
    ["refuse PREFLIGHT_MEMBER_MISSING"],
  ],
  [
    "a disk that was copied from another and kept its Virtual Disk ID",
    firstMachine({
      disks: [...machines[0]!.disks, { ...machines[0]!.disks[0]!, path: "/vm/copy.vhdx", shared: false }],
    }),
    ["refuse PREFLIGHT_DISK_ID_TWICE"],
  ],
  ["a member that is off", firstMachine({ state: "off" }), ["refuse PREFLIGHT_MEMBER_NOT_RUNNING"]],
  [
    "configuration version 5.0",
    firstMachine({ configurationVersion: "5.0" }),
    ["refuse PREFLIGHT_CONFIGURATION_VERSION"],
  ],
  [
    "an unreadable version",
    firstMachine({ configurationVersion: "?" }),
    ["refuse PREFLIGHT_CONFIGURATION_VERSION"],
  ],
  [
    "configuration version 6.2",
    firstMachine({ configurationVersion: "6.2" }),
    ["warn PREFLIGHT_CONFIGURATION_VERSION_OLD"],
  ],
  ["no contact to VSS", firstMachine({ vssStatus: "no-contact" }), ["refuse PREFLIGHT_VSS_STATUS"]],
  [
    "no contact to VSS where crash-consistent is allowed",
    { ...firstMachine({ vssStatus: "no-contact" }), consistency: "application-or-crash" },
    ["warn PREFLIGHT_VSS_STATUS"],
  ],
  ["an older VSS protocol", firstMachine({ vssStatus: "degraded" }), ["warn PREFLIGHT_VSS_STATUS"]],
  [
    "a user checkpoint",
    firstMachine({ checkpoints: [{ id: "c", kind: "user", name: "before the update" }] }),
    ["refuse PREFLIGHT_USER_CHECKPOINT"],
  ],
  [
    "another product's recovery checkpoint",
    firstMachine({ checkpoints: [{ id: "c", kind: "recovery", name: "x" }] }),
    ["refuse PREFLIGHT_RECOVERY_CHECKPOINT_LEFT"],
  ],
  [
    "a shared .vhdx",
    firstMachine({ disks: [{ ...machines[0]!.disks[0]!, path: "D:\\a.vhdx", shared: true }] }),
    ["refuse PREFLIGHT_SHARED_DISK_FORMAT"],
  ],
  [
    "a private .vhd",
    firstMachine({ disks: [{ ...machines[0]!.disks.find(({ shared }) => !shared)!, path: "D:\\a.VHD" }] }),
    ["refuse PREFLIGHT_DISK_FORMAT"],
  ],
  [
    "members of two clusters",
    firstAnswer({ clusterId: "other" }),
    ["refuse PREFLIGHT_GUEST_CLUSTER_MISMATCH"],
  ],
  [
    "a member without cluster service",
    firstAnswer({ clusterId: null }),
    ["refuse PREFLIGHT_NO_GUEST_CLUSTER"],
  ],
  [
    "a cluster with a member that is not configured",
    { guestCluster: ok(guestCluster.map((each) => ({ ...each, clusterSize: 4 }))) },
    ["refuse PREFLIGHT_GUEST_CLUSTER_SIZE"],
  ],
  [
    "a shared disk that is not clustered",
    everyDisk({ isClustered: false }),
    ["refuse PREFLIGHT_SHARED_DISK_NOT_CLUSTERED"],
  ],
  [
    "a CSV inside the guest",
    everyDisk({ isActiveActive: true }),
    ["refuse PREFLIGHT_SHARED_DISK_ACTIVE_ACTIVE"],
  ],
  [
    "an offline shared disk",
    everyDisk({ isOnline: false, isOwned: false }),
    ["refuse PREFLIGHT_SHARED_DISK_OFFLINE", "refuse PREFLIGHT_SHARED_DISK_OWNER"],
  ],
  ["two owners of a shared disk", everyDisk({ isOwned: true }), ["refuse PREFLIGHT_SHARED_DISK_OWNER"]],
  [
    "no ConfigStoreRootPath",
    { readiness: ok({ ...readiness, configStoreRootPath: null }) },
    ["refuse PREFLIGHT_CONFIG_STORE_UNSET"],
  ],
  [
    "missing folder rights",
    { readiness: ok({ ...readiness, missingFolderRights: [{ vmId: MEMBERS[0]!, directory: "D:\\vm" }] }) },
    ["refuse PREFLIGHT_FOLDER_RIGHTS"],
  ],
  ["hardly any free space", { readiness: volume(5) }, ["refuse PREFLIGHT_FREE_SPACE"]],
  ["little free space", { readiness: volume(50) }, ["warn PREFLIGHT_FREE_SPACE"]],
  ["enough free space", { readiness: volume(100) }, []],
  [
    "a checkpoint of an earlier run",
    { recoveryCheckpoints: checkpoint(newRunId()) },
    ["refuse PREFLIGHT_RECOVERY_CHECKPOINT_LEFT"],
  ],
  ["this run's own checkpoint from before a crash", { recoveryCheckpoints: checkpoint(healthy.runId) }, []],
  [
    "a storage snapshot of an earlier run",
    { storageSnapshots: snapshot(newRunId()) },
    ["warn PREFLIGHT_STORAGE_SNAPSHOT_LEFT"],
  ],
  [
    "another run on one of the members, with its effects",
    {
      otherRuns: [activeRun],
      storageSnapshots: snapshot(activeRun.runId),
      recoveryCheckpoints: checkpoint(activeRun.runId),
    },
    ["refuse PREFLIGHT_RUN_ACTIVE"],
  ],
  ["another run on other members", { otherRuns: [{ ...activeRun, members: ["another"] }] }, []],
  [
    "a question without an answer",
    { guestCluster: { ok: false, error: new BackupError("HYPERV_CALL_FAILED", "32768").toJSON() } },
    ["refuse PREFLIGHT_HOST_QUESTION_FAILED"],
  ],
])("%s", (_name, changes, expected) => {
  test(expected.length === 0 ? "is no finding" : `gives ${expected.join(", ")}`, () => {
    expect([...new Set(findings(changes))]).toEqual(expected);
  });
});

test("every cause is named at once, each with its subject and a remedy", () => {
  const found = decidePreflight({
    ...healthy,
    ...firstMachine({ state: "off", configurationVersion: "5.0" }),
    ...everyDisk({ isActiveActive: true }),
    readiness: ok({ ...readiness, configStoreRootPath: null }),
  });
  expect(found).toHaveLength(4);
  for (const { subject, message, remedy } of found) {
    expect(subject).not.toBe("");
    expect(message).not.toBe("");
    expect(remedy).not.toBe("");
  }
});
