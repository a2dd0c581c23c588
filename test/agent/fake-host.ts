import { randomUUID } from "node:crypto";
import type { ByteRange, DiskId, Leftover, VmId } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import type {
  CheckpointedDisk,
  GuestClusterInformation,
  HostReadiness,
  HyperVHost,
  RecoveryCheckpoint,
  ReferencePointCollection,
  StorageSnapshot,
  VhdSetInformation,
  VirtualMachine,
} from "../../lib/agent/index.ts";

/** What the host holds; it outlives the agent, as a real one does. */
export interface HostState {
  readonly members: readonly VmId[];
  readonly disks: readonly FakeDisk[];
  checkpoints: RecoveryCheckpoint[];
  storageSnapshots: StorageSnapshot[];
  references: ReferencePointCollection[];
  /** Reference-only entries of the VHD Sets, by set path. */
  entries: Map<string, string[]>;
  /** By disk: what changed since the newest reference point; answered for any `since` that exists. */
  changes: Map<DiskId, ByteRange[]>;
  freezes: number;
  clock: number;
}

export interface FakeDisk {
  readonly diskId: DiskId;
  readonly path: string;
  readonly staticPath: string;
  readonly shared: boolean;
  readonly attachedTo: readonly VmId[];
  readonly sizeBytes: number;
}

export function newHostState(members: readonly VmId[], disks: readonly FakeDisk[]): HostState {
  return {
    ...{ members, disks, checkpoints: [], storageSnapshots: [], references: [] },
    ...{ entries: new Map(), changes: new Map(), freezes: 0, clock: 0 },
  };
}

/** What happens at a call: it is answered, it fails, or the agent dies before or after its effect. */
export type Fate = "answer" | "die-before" | "die-after" | BackupError;

export interface FakeHost extends HyperVHost {
  /** Names of all calls so far. */
  readonly calls: string[];
  /** Resolves when a call met "die-…": whoever called it never hears of it. */
  readonly died: Promise<void>;
  /** Answers of the preflight questions, to be changed by tests. */
  readonly answers: {
    machines: VirtualMachine[];
    guestCluster: GuestClusterInformation[];
    readiness: HostReadiness;
  };
}

/** A Hyper-V host in memory. `fate` decides by the number of the call (from 0) and its name. */
export function fakeHost(
  state: HostState,
  fate: (index: number, name: string) => Fate = () => "answer",
): FakeHost {
  const calls: string[] = [];
  const died = Promise.withResolvers<undefined>();
  const call = <T>(name: string, act: () => T): Promise<T> => {
    const decided = fate(calls.length, name);
    calls.push(name);
    const silence = (): Promise<T> => {
      died.resolve(undefined);
      return new Promise<T>(() => undefined);
    };
    if (decided instanceof BackupError) return Promise.reject(decided);
    if (decided === "die-before") return silence();
    return Promise.resolve().then(() => {
      const answer = act();
      return decided === "die-after" ? silence() : answer;
    });
  };
  const shared = state.disks.filter((disk) => disk.shared);
  const answers: FakeHost["answers"] = {
    machines: state.members.map((vmId, index) => ({
      ...{
        vmId,
        name: `node-${String(index + 1)}`,
        state: "running",
        configurationVersion: "10.0",
        vssStatus: "ok",
      },
      disks: state.disks.filter((disk) => disk.attachedTo.includes(vmId)),
      checkpoints: [],
    })),
    guestCluster: state.members.map((vmId, index) => ({
      ...{ vmId, clusterId: "fc", clusterSize: state.members.length },
      sharedDisks: shared.map(({ path }) => ({
        ...{ path, isClustered: true, isOnline: true, isOwned: index === 0, isActiveActive: false },
      })),
    })),
    readiness: {
      configStoreRootPath: "/csv/config",
      volumes: [{ directory: "/vm", freeBytes: 1e12, usedBytes: 1e12 }],
      missingFolderRights: [],
    },
  };
  const concerns = (vmIds: readonly VmId[]) => vmIds.some((vmId) => state.members.includes(vmId));

  return {
    ...{ calls, answers, died: died.promise },
    describe: () => call("describe", () => ({ name: "fake", implementation: "simulated" as const })),
    getVirtualMachines: (vmIds) =>
      call("getVirtualMachines", () => answers.machines.filter(({ vmId }) => vmIds.includes(vmId))),
    getGuestClusterInformation: (vmIds) =>
      call("getGuestClusterInformation", () =>
        answers.guestCluster.filter(({ vmId }) => vmIds.includes(vmId)),
      ),
    getReadiness: () => call("getReadiness", () => answers.readiness),
    ensureCollection: (name) => call("ensureCollection", () => `collection-${name}`),
    createRecoveryCheckpoint: ({ tag, consistency }) =>
      call("createRecoveryCheckpoint", () => {
        state.freezes++;
        const at = new Date(1_700_000_000_000 + ++state.clock);
        const checkpoint: RecoveryCheckpoint = {
          snapshotCollectionId: randomUUID(),
          tag,
          members: state.members.map((vmId) => ({
            ...{ vmId, checkpointId: randomUUID(), consistency, frozenAt: at, thawedAt: at, frozenMs: 12 },
          })),
          disks: state.disks.map((disk): CheckpointedDisk => {
            return { ...disk, setSnapshotId: disk.shared ? randomUUID() : null };
          }),
        };
        state.checkpoints.push(checkpoint);
        return checkpoint;
      }),
    findRecoveryCheckpoints: (vmIds) =>
      call("findRecoveryCheckpoints", () => (concerns(vmIds) ? [...state.checkpoints] : [])),
    destroyRecoveryCheckpoint: (id) =>
      call("destroyRecoveryCheckpoint", () => {
        state.checkpoints = state.checkpoints.filter(
          ({ snapshotCollectionId }) => snapshotCollectionId !== id,
        );
      }),
    createStorageSnapshot: ({ tag }) =>
      call("createStorageSnapshot", () => {
        const snapshot = {
          storageSnapshotId: randomUUID(),
          tag,
          volumes: [{ directory: "/vm", exposedAs: "/exposed" }],
        };
        state.storageSnapshots.push(snapshot);
        return snapshot;
      }),
    findStorageSnapshots: () => call("findStorageSnapshots", () => [...state.storageSnapshots]),
    releaseStorageSnapshot: (id) =>
      call("releaseStorageSnapshot", () => {
        state.storageSnapshots = state.storageSnapshots.filter(
          ({ storageSnapshotId }) => storageSnapshotId !== id,
        );
      }),
    convertToReferencePoint: (id) =>
      call("convertToReferencePoint", () => {
        const checkpoint = state.checkpoints.find(({ snapshotCollectionId }) => snapshotCollectionId === id);
        if (checkpoint === undefined) throw new BackupError("HYPERV_OBJECT_MISSING", `no checkpoint ${id}`);
        state.checkpoints = state.checkpoints.filter((each) => each !== checkpoint);
        const collection: ReferencePointCollection = {
          referencePointCollectionId: randomUUID(),
          tag: checkpoint.tag,
          createdAt: new Date(),
          disks: checkpoint.disks.map(({ diskId, path, setSnapshotId }) => {
            const referenceId = setSnapshotId ?? randomUUID();
            if (setSnapshotId !== null)
              state.entries.set(path, [...(state.entries.get(path) ?? []), referenceId]);
            return { diskId, id: referenceId, rctId: `rct-${referenceId}` };
          }),
        };
        state.references.push(collection);
        return collection;
      }),
    findReferencePoints: (vmIds) =>
      call("findReferencePoints", () => (concerns(vmIds) ? [...state.references] : [])),
    destroyReferencePoint: (id) =>
      call("destroyReferencePoint", () => {
        const gone = state.references.find(
          ({ referencePointCollectionId }) => referencePointCollectionId === id,
        );
        state.references = state.references.filter((each) => each !== gone);
        const ids = gone?.disks.map((disk) => disk.id) ?? [];
        for (const [path, list] of state.entries) {
          state.entries.set(
            path,
            list.filter((each) => !ids.includes(each)),
          );
        }
      }),
    getVhdSetInformation: (path) =>
      call("getVhdSetInformation", (): VhdSetInformation => {
        const files = state.checkpoints.length > 0 ? [`${path}.2`, `${path}.1`] : [`${path}.1`];
        const entries = (state.entries.get(path) ?? []).map((snapshotId) => {
          return { snapshotId, path: null, rctId: `rct-${snapshotId}`, createdAt: new Date() };
        });
        return { path, activePath: files[0]!, chain: files, entries };
      }),
    getDiskChanges: ({ path, range }) =>
      call("getDiskChanges", () => {
        const disk = state.disks.find((each) => each.path === path)!;
        const end = range.offsetBytes + range.lengthBytes;
        const ranges = (state.changes.get(disk.diskId) ?? []).filter(
          ({ offsetBytes }) => offsetBytes >= range.offsetBytes && offsetBytes < end,
        );
        return { processedBytes: range.lengthBytes, ranges };
      }),
    findLeftovers: () =>
      call("findLeftovers", () => {
        const leftover = (kind: Leftover["kind"], id: string): Leftover => ({
          kind,
          id,
          subject: "fake",
          remedy: "",
        });
        return [
          ...state.checkpoints.map((each) => leftover("recovery-checkpoint", each.snapshotCollectionId)),
          ...state.storageSnapshots.map((each) => leftover("storage-snapshot", each.storageSnapshotId)),
        ];
      }),
  };
}
