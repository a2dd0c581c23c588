import { randomUUID } from "node:crypto";
import type { HyperVHost, RecoveryCheckpoint } from "../../agent/hyperv-host.ts";
import type { VmId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import type { PreparedSwitch, SimulatedDisk } from "../disks/simulated-disk.ts";
import type { EstateDisk } from "../estate/layout.ts";
import { freezeMembers, type FrozenMembers } from "./freeze.ts";
import type { RunningEstate } from "./running-estate.ts";
import type { CheckpointState } from "./state.ts";
import { writeVhdSetFiles } from "./vhd-set.ts";
import { checkpointView } from "./views.ts";

type CheckpointRequest = Parameters<HyperVHost["createRecoveryCheckpoint"]>[0];

/** Freezes, switches every disk, thaws. The same tag again finds the checkpoint that is there. */
export async function createCheckpoint(
  estate: RunningEstate,
  request: CheckpointRequest,
): Promise<RecoveryCheckpoint> {
  const { checkpoints, collections } = estate.state.current;
  const there = checkpoints.find(({ tag }) => tag === request.tag);
  if (there !== undefined) return checkpointView(estate, there);
  const collection = collections.find(({ id }) => id === request.collectionId);
  if (collection === undefined) throw missing("collection", request.collectionId);
  const members = collection.members;
  refuseUnready(estate, members);

  const disks = disksOf(estate, members);
  const frozen = await freezeMembers(estate, members, request);
  try {
    const made = await switchDisks(estate, disks, frozen, { ...request, members });
    const times = frozen.thaw();
    const checkpoint: CheckpointState = {
      ...made,
      members: made.members.map((member) => ({
        ...member,
        ...times.find(({ vmId }) => vmId === member.vmId),
      })),
    };
    estate.state.update((state) => ({
      checkpoints: state.checkpoints.map((each) => (each.id === checkpoint.id ? checkpoint : each)),
    }));
    writeVhdSetFiles(estate);
    return checkpointView(estate, checkpoint);
  } finally {
    frozen.thaw();
    await estate.settleFiles();
  }
}

/** All disks go over to new files at one instant, or none does. */
async function switchDisks(
  estate: RunningEstate,
  disks: readonly EstateDisk[],
  frozen: FrozenMembers,
  request: CheckpointRequest & { readonly members: readonly VmId[] },
): Promise<CheckpointState> {
  const closed: SimulatedDisk[] = [];
  const prepared: { readonly disk: EstateDisk; readonly change: PreparedSwitch }[] = [];
  try {
    for (const disk of disks) {
      const open = estate.disk(disk.diskId);
      closed.push(open);
      await open.gate.close();
      prepared.push({ disk, change: await open.prepareSwitch() });
    }
    frozen.insist();
    // From here to the end nothing waits, so the deadline cannot pass in between.
    return commitSwitch(estate, prepared, request);
  } catch (error) {
    for (const { disk, change } of prepared) {
      await change.abandon().catch((failure: unknown) => {
        estate.log("error", "a disk did not go back to its file", {
          file: disk.file,
          error: String(failure),
        });
      });
    }
    throw error;
  } finally {
    for (const disk of closed) disk.gate.open();
  }
}

function commitSwitch(
  estate: RunningEstate,
  prepared: readonly { readonly disk: EstateDisk; readonly change: PreparedSwitch }[],
  request: CheckpointRequest & { readonly members: readonly VmId[] },
): CheckpointState {
  const now = new Date();
  const checkpoint: CheckpointState = {
    id: randomUUID(),
    tag: request.tag,
    collectionId: request.collectionId,
    members: request.members.map((vmId) => ({
      vmId,
      checkpointId: randomUUID(),
      consistency: request.consistency,
      frozenAt: now,
      thawedAt: now,
      frozenMs: 0,
    })),
    disks: prepared.map(({ disk, change }) => ({
      diskId: disk.diskId,
      staticFile: change.staticFile,
      pointId: randomUUID(),
      rctId: `rct-${randomUUID()}`,
    })),
  };
  for (const { diskId, rctId } of checkpoint.disks) estate.trackers.get(diskId)?.seal(rctId);
  estate.state.update((state) => {
    const setEntries = { ...state.setEntries };
    const activeFiles = { ...state.activeFiles };
    for (const { disk, change } of prepared) activeFiles[disk.diskId] = change.activeFile;
    for (const { diskId, pointId, rctId, staticFile } of checkpoint.disks) {
      if (!estate.diskLayout(diskId).shared) continue;
      const entry = { snapshotId: pointId, file: staticFile, rctId, createdAt: now };
      setEntries[diskId] = [...(setEntries[diskId] ?? []), entry];
    }
    return {
      activeFiles,
      setEntries,
      checkpoints: [...state.checkpoints, checkpoint],
      counters: { ...state.counters, checkpoints: state.counters.checkpoints + 1 },
    };
  });
  return checkpoint;
}

/** Each disk once, however many members have it. */
function disksOf(estate: RunningEstate, members: readonly VmId[]): EstateDisk[] {
  return estate.layout.disks.filter(({ attachedTo }) => attachedTo.some((vmId) => members.includes(vmId)));
}

function refuseUnready(estate: RunningEstate, members: readonly VmId[]): void {
  const held = estate.state.current.checkpoints.find((each) =>
    each.members.some(({ vmId }) => members.includes(vmId)),
  );
  if (held !== undefined) {
    throw new BackupError(
      "QUIESCE_FAILED",
      `the members have a recovery checkpoint already (${held.tag}); remove it first`,
      { retry: "after-operator", facts: { snapshotCollectionId: held.id } },
    );
  }
  for (const vmId of members) {
    if (estate.faults.find("member-off", (fault) => fault.vmId === vmId) === undefined) continue;
    const { name } = estate.vm(vmId);
    throw new BackupError(
      "QUIESCE_FAILED",
      `VM ${name} is off and cannot be checkpointed with the others; start it`,
      {
        retry: "after-operator",
        facts: { vm: name },
      },
    );
  }
}

function missing(what: string, id: string): BackupError {
  return new BackupError("HYPERV_OBJECT_MISSING", `the host has no ${what} ${id}; create it again`, {
    retry: "later",
    facts: { [what]: id },
  });
}
