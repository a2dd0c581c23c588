import { randomUUID } from "node:crypto";
import type { HyperVHost } from "../../agent/hyperv-host.ts";
import { BackupError } from "../../errors/index.ts";
import { createCheckpoint } from "./create-checkpoint.ts";
import { diskChanges } from "./disk-changes.ts";
import { convertCheckpoint, destroyCheckpoint, destroyReferencePoint } from "./end-checkpoint.ts";
import { guestClusterInformation, leftovers, readiness, virtualMachines } from "./inventory.ts";
import type { RunningEstate } from "./running-estate.ts";
import { createSnapshot, releaseSnapshot, snapshotView } from "./storage-snapshots.ts";
import { vhdSetInformation } from "./vhd-set.ts";
import { checkpointView, referencePointView } from "./views.ts";

/**
 * The port over a running estate. Whoever asks for checkpoints, storage snapshots, reference points or leftovers waits for what is
 * under way, so that a caller that lost its connection and asks again sees what came of it.
 */
export function simulatedHyperVHost(estate: RunningEstate): HyperVHost {
  const { state, changes } = estate;
  const settled = <T>(read: () => T) => changes.run(() => Promise.resolve(read()));
  const now = <T>(read: () => T): Promise<T> => Promise.resolve().then(read);
  const hasAny = (members: readonly string[], vmIds: readonly string[]) =>
    members.some((vmId) => vmIds.includes(vmId));
  return {
    describe: () =>
      now(() => ({ name: `simulated-${estate.layout.estateId.slice(0, 8)}`, implementation: "simulated" })),

    getVirtualMachines: (vmIds) => now(() => virtualMachines(estate, vmIds)),
    getGuestClusterInformation: (vmIds) => now(() => guestClusterInformation(estate, vmIds)),
    getReadiness: (vmIds) => now(() => readiness(estate, vmIds)),

    ensureCollection: (name, vmIds) =>
      settled(() => {
        const unknown = vmIds.find((vmId) => !estate.layout.vms.some((vm) => vm.vmId === vmId));
        if (unknown !== undefined) {
          throw new BackupError("COLLECTION_FAILED", `the host knows no VM ${unknown}; correct the members`, {
            retry: "after-operator",
            facts: { vmId: unknown },
          });
        }
        const { collections } = state.current;
        const id = collections.find((each) => each.name === name)?.id ?? randomUUID();
        state.update(() => ({
          collections: [...collections.filter((each) => each.id !== id), { id, name, members: [...vmIds] }],
        }));
        return id;
      }),

    createRecoveryCheckpoint: (request) => changes.run(() => createCheckpoint(estate, request)),
    findRecoveryCheckpoints: (vmIds) =>
      settled(() =>
        state.current.checkpoints
          .filter(({ members }) =>
            hasAny(
              members.map(({ vmId }) => vmId),
              vmIds,
            ),
          )
          .map((checkpoint) => checkpointView(estate, checkpoint)),
      ),
    destroyRecoveryCheckpoint: (id) => changes.run(() => destroyCheckpoint(estate, id)),

    createStorageSnapshot: (request) => changes.run(() => createSnapshot(estate, request)),
    findStorageSnapshots: () =>
      settled(() => state.current.storageSnapshots.map((snapshot) => snapshotView(estate, snapshot))),
    releaseStorageSnapshot: (id) => changes.run(() => releaseSnapshot(estate, id)),

    convertToReferencePoint: (id) => changes.run(() => convertCheckpoint(estate, id)),
    findReferencePoints: (vmIds) =>
      settled(() =>
        state.current.referencePoints.filter(({ members }) => hasAny(members, vmIds)).map(referencePointView),
      ),
    destroyReferencePoint: (id) => settled(() => destroyReferencePoint(estate, id)),
    getVhdSetInformation: (path) =>
      settled(() => {
        const disk = estate.diskAt(path);
        if (disk.shared) return vhdSetInformation(estate, disk);
        throw new BackupError("HYPERV_CALL_FAILED", `${path} is no VHD Set; ask for a .vhds file`, {
          facts: { path },
        });
      }),

    getDiskChanges: (request) => now(() => diskChanges(estate, request)),

    findLeftovers: (vmIds) => settled(() => leftovers(estate, vmIds)),
  };
}
