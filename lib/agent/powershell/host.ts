import { createHash } from "node:crypto";
import type { Leftover, VmId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import type { HyperVHost, RecoveryCheckpoint } from "../hyperv-host.ts";
import * as answers from "./answers.ts";
import { createAsk } from "./ask.ts";
import {
  toChanges,
  toGuestCluster,
  toRecoveryCheckpoint,
  toReferencePoints,
  toVhdSet,
  toVirtualMachine,
} from "./convert.ts";
import { createRestore, type VirtualMachineRestore } from "./restore.ts";
import type { ScriptRunner } from "./runner.ts";
import type { PowerShellSettings } from "./settings.ts";
import { createStorageSnapshots } from "./storage-snapshots.ts";

/** The real Hyper-V host: the port, and what only the real one has. */
export interface PowerShellHost extends HyperVHost, AsyncDisposable {
  readonly restore: VirtualMachineRestore;
  /** Changes an entry of a VHD Set ("update the checkpoint references"). */
  setVhdSetEntry(request: {
    path: string;
    snapshotId: string;
    snapshotPath: string;
    rctId: string;
  }): Promise<void>;
  /** Removes an entry of a VHD Set; with `keepReference` its change tracking stays. Gone already is fine. */
  removeVhdSetEntry(request: { path: string; snapshotId: string; keepReference: boolean }): Promise<void>;
  /** Images of these members that somebody attached to the host: they hold chains and block merges. */
  findMountedImages(vmIds: readonly VmId[]): Promise<readonly string[]>;
}

/** Collections are not for a single VM (hyperv.md §0.1): its "collection" is the VM itself. */
const SINGLE = "vm/";

export function createHost(runner: ScriptRunner, settings: PowerShellSettings): PowerShellHost {
  const ask = createAsk(runner, settings);
  const storage = createStorageSnapshots(ask, settings);
  const shortMs = settings.callTimeoutMs;
  /** A script keeps its own deadlines; the runner only ends one that does not keep them. */
  const checkpointSlackMs = settings.settleMs + settings.callTimeoutMs;

  async function findCheckpoints(vmIds: readonly VmId[]): Promise<RecoveryCheckpoint[]> {
    const { checkpoints } = await ask({
      script: "Get-RecoveryCheckpoint",
      activity: "query",
      input: { vmIds },
      answer: answers.Checkpoints,
      timeoutMs: shortMs,
    });
    return checkpoints.map(toRecoveryCheckpoint);
  }

  async function destroyCheckpoint(snapshotCollectionId: string): Promise<void> {
    await ask({
      script: "Remove-RecoveryCheckpoint",
      activity: "reference",
      input: { snapshotCollectionId, mergeTimeoutMs: settings.mergeTimeoutMs },
      answer: answers.Done,
      timeoutMs: settings.mergeTimeoutMs + 2 * shortMs,
    });
  }

  async function membersOf(collectionId: string): Promise<VmId[]> {
    const { vmIds } = await ask({
      script: "Get-CollectionMember",
      activity: "collection",
      input: { collectionId },
      answer: answers.CollectionMembers,
      timeoutMs: shortMs,
    });
    return vmIds;
  }

  /** After a script that did not come to its end: finds what it made and removes it, so that nothing is left behind. */
  async function undoCheckpoint(collectionId: string, tag: string): Promise<void> {
    const vmIds = collectionId.startsWith(SINGLE)
      ? [collectionId.slice(SINGLE.length) as VmId]
      : await membersOf(collectionId);
    for (const found of await findCheckpoints(vmIds)) {
      if (found.tag === tag) await destroyCheckpoint(found.snapshotCollectionId);
    }
  }

  async function leftoversOf(vmIds: readonly VmId[]): Promise<ReturnType<typeof answers.Leftovers.parse>> {
    return ask({
      script: "Get-Leftover",
      activity: "query",
      input: { vmIds },
      answer: answers.Leftovers,
      timeoutMs: shortMs,
    });
  }

  return {
    restore: createRestore(ask, settings),

    async describe() {
      const answer = answers.HostDescription;
      const { name } = await ask({
        script: "Get-HostDescription",
        activity: "query",
        input: {},
        answer,
        timeoutMs: shortMs,
      });
      return { name, implementation: "hyper-v" };
    },

    async getVirtualMachines(vmIds) {
      const answer = answers.VirtualMachines;
      const raw = await ask({
        script: "Get-VirtualMachine",
        activity: "query",
        input: { vmIds },
        answer,
        timeoutMs: shortMs,
      });
      return raw.virtualMachines.map(toVirtualMachine);
    },

    async getGuestClusterInformation(vmIds) {
      const raw = await ask({
        script: "Get-GuestClusterInformation",
        activity: "query",
        input: { vmIds },
        answer: answers.GuestClusters,
        timeoutMs: shortMs + settings.guestQueryTimeoutMs * vmIds.length,
      });
      return raw.members.map(toGuestCluster);
    },

    async getReadiness(vmIds) {
      const answer = answers.Readiness;
      const raw = await ask({
        script: "Get-HostReadiness",
        activity: "query",
        input: { vmIds },
        answer,
        timeoutMs: shortMs,
      });
      return { ...raw, configStoreRootPath: raw.configStoreRootPath === "" ? null : raw.configStoreRootPath };
    },

    async ensureCollection(name, vmIds) {
      const [only] = vmIds;
      if (only !== undefined && vmIds.length === 1) return `${SINGLE}${only}`;
      const { collectionId } = await ask({
        script: "Initialize-Collection",
        activity: "collection",
        input: { name, collectionId: collectionIdOf(name), vmIds },
        answer: answers.CollectionId,
        timeoutMs: shortMs * 2,
      });
      return collectionId;
    },

    async createRecoveryCheckpoint({ collectionId, tag, consistency, deadlineMs }) {
      const isSingle = collectionId.startsWith(SINGLE);
      try {
        const made = await ask({
          script: isSingle ? "New-VirtualMachineCheckpoint" : "New-CollectionCheckpoint",
          activity: "checkpoint",
          input: {
            ...(isSingle ? { vmId: collectionId.slice(SINGLE.length) } : { collectionId }),
            tag,
            consistency,
            deadlineMs,
          },
          answer: answers.Checkpoint,
          timeoutMs: deadlineMs + checkpointSlackMs,
        });
        return toRecoveryCheckpoint(made);
      } catch (error) {
        if (!isUnfinished(error)) throw error;
        await undoCheckpoint(collectionId, tag);
        const code = error.code === "POWERSHELL_TIMED_OUT" ? "QUIESCE_TIMED_OUT" : "QUIESCE_FAILED";
        throw new BackupError(
          code,
          `The checkpoint of ${collectionId} did not come to its end (${error.message}); what it made was removed. Try again.`,
          { retry: "later", facts: { ...error.facts, collectionId, tag }, cause: error },
        );
      }
    },

    findRecoveryCheckpoints: findCheckpoints,
    destroyRecoveryCheckpoint: destroyCheckpoint,

    createStorageSnapshot: ({ tag, paths }) => storage.create(tag, paths),
    findStorageSnapshots: () => storage.find(),
    releaseStorageSnapshot: (storageSnapshotId) => storage.release(storageSnapshotId),

    async convertToReferencePoint(snapshotCollectionId) {
      const made = await ask({
        script: "ConvertTo-ReferencePoint",
        activity: "reference",
        input: { snapshotCollectionId, mergeTimeoutMs: settings.mergeTimeoutMs },
        answer: answers.ReferencePoints,
        timeoutMs: settings.mergeTimeoutMs + 2 * shortMs,
      });
      return toReferencePoints(made);
    },

    async findReferencePoints(vmIds) {
      const answer = answers.FoundReferencePoints;
      const raw = await ask({
        script: "Get-ReferencePoint",
        activity: "query",
        input: { vmIds },
        answer,
        timeoutMs: shortMs,
      });
      return raw.referencePoints.map(toReferencePoints);
    },

    async destroyReferencePoint(referencePointCollectionId) {
      await ask({
        script: "Remove-ReferencePoint",
        activity: "reference",
        input: { referencePointCollectionId },
        answer: answers.Done,
        timeoutMs: shortMs * 2,
      });
    },

    async getVhdSetInformation(path) {
      const answer = answers.VhdSet;
      return toVhdSet(
        await ask({
          script: "Get-VhdSetInformation",
          activity: "query",
          input: { path },
          answer,
          timeoutMs: shortMs,
        }),
      );
    },

    async getDiskChanges({ path, since, until, range }) {
      const isSet = path.toLowerCase().endsWith(".vhds");
      const raw = await ask({
        script: "Get-DiskChange",
        activity: "changes",
        input: {
          path,
          limitId: isSet && settings.limitIdForSets === "snapshot-id" ? since.id : since.rctId,
          // Private disks have no target: their map reaches to now, which is wider than `until`, never narrower.
          targetSnapshotId: isSet ? until.id : "",
          offsetBytes: range.offsetBytes,
          lengthBytes: range.lengthBytes,
          maximumRanges: settings.maximumRanges,
        },
        answer: answers.DiskChanges,
        timeoutMs: shortMs,
      });
      return toChanges(raw, range, path);
    },

    async findLeftovers(vmIds) {
      const raw = await leftoversOf(vmIds);
      const checkpoints = await findCheckpoints(vmIds);
      const snapshots = await storage.find();
      return [
        ...checkpoints.map(({ snapshotCollectionId, members }): Leftover => ({
          kind: "recovery-checkpoint",
          id: snapshotCollectionId,
          subject: members.map(({ vmId }) => vmId).join(", "),
          remedy:
            "The sweep removes it; by hand: Get-VMSnapshot -SnapshotType Recovery, then Remove-VMSnapshot.",
        })),
        ...snapshots.map(({ storageSnapshotId, volumes }): Leftover => ({
          kind: "storage-snapshot",
          id: storageSnapshotId,
          subject: volumes.map(({ directory }) => directory).join(", "),
          remedy: "The sweep releases it; by hand: diskshadow, list shadows all, delete shadows id {id}.",
        })),
        ...(await storage.findUnclaimed()),
        ...raw.orphanFiles.map(({ path, bytes }): Leftover => ({
          kind: "orphan-avhdx",
          id: path,
          subject: `${bytes} bytes`,
          remedy:
            "No chain names this file. Check with Get-VMHardDiskDrive and Get-VHD before you move it away; never delete it unseen.",
        })),
        ...raw.runningJobs.map(({ jobId, jobType, vmId }): Leftover => ({
          kind: "frozen-member",
          id: jobId,
          subject: vmId,
          remedy: `A Hyper-V job of type ${jobType} is at work on this VM. VSS ends a freeze after 60 s; if the job stays, restart the VMMS service.`,
        })),
      ];
    },

    async setVhdSetEntry(request) {
      await ask({
        script: "Set-VhdSetSnapshot",
        activity: "reference",
        input: request,
        answer: answers.Done,
        timeoutMs: shortMs * 2,
      });
    },
    async removeVhdSetEntry(request) {
      await ask({
        script: "Remove-VhdSetSnapshot",
        activity: "reference",
        input: request,
        answer: answers.Done,
        timeoutMs: shortMs * 2,
      });
    },
    async findMountedImages(vmIds) {
      return (await leftoversOf(vmIds)).mountedImages.map(({ path }) => path);
    },

    [Symbol.asyncDispose]: () => runner.dispose(),
  };
}

/** The script was ended or gave no answer: whether it made something is not known. */
function isUnfinished(error: unknown): error is BackupError {
  return (
    error instanceof BackupError &&
    ["POWERSHELL_CRASHED", "POWERSHELL_TIMED_OUT", "HYPERV_ANSWER_INVALID"].includes(error.code)
  );
}

/** The same name gives the same collection id on every host, so that a second call finds the first one's collection. */
export function collectionIdOf(name: string): string {
  const hex = createHash("sha256").update(`guest-cluster-backup/collection/${name}`).digest("hex");
  const variant = ((Number.parseInt(hex.slice(16, 18), 16) & 0x3f) | 0x80).toString(16);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `${variant}${hex.slice(18, 20)}`,
    hex.slice(20, 32),
  ].join("-");
}
