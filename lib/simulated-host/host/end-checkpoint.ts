import { randomUUID } from "node:crypto";
import type { ReferencePointCollection } from "../../agent/hyperv-host.ts";
import type { DiskId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import type { RunningEstate } from "./running-estate.ts";
import type { HostState, ReferencePointState } from "./state.ts";
import { writeVhdSetFiles } from "./vhd-set.ts";
import { referencePointView } from "./views.ts";

/** Takes the checkpoint away and merges. Gone already is fine; a merge that did not come to its end goes on. */
export async function destroyCheckpoint(estate: RunningEstate, id: string): Promise<void> {
  const checkpoint = estate.state.current.checkpoints.find((each) => each.id === id);
  if (checkpoint !== undefined) {
    estate.state.update((state) => ({
      ...withoutSetEntries(state, new Set(checkpoint.disks.map(({ pointId }) => pointId))),
      checkpoints: state.checkpoints.filter((each) => each.id !== id),
    }));
  }
  await mergeFreeDisks(estate);
}

/** The checkpoint becomes a reference point, its files are merged. Asking again after a crash finds what is there and merges on. */
export async function convertCheckpoint(
  estate: RunningEstate,
  id: string,
): Promise<ReferencePointCollection> {
  const made = estate.state.current.referencePoints.find(({ checkpointId }) => checkpointId === id);
  if (made !== undefined) {
    await mergeFreeDisks(estate);
    return referencePointView(made);
  }
  const checkpoint = estate.state.current.checkpoints.find((each) => each.id === id);
  if (checkpoint === undefined) {
    throw new BackupError(
      "CHECKPOINT_LOST",
      `the recovery checkpoint ${id} is gone from the host; start a new run`,
      {
        facts: { snapshotCollectionId: id },
      },
    );
  }
  if (estate.faults.take("convert-fails") !== undefined) {
    throw new BackupError(
      "HYPERV_CALL_FAILED",
      `ConvertToReferencePoint of ${id} failed (32775); look at the VMMS log`,
      {
        retry: "later",
        facts: { snapshotCollectionId: id },
      },
    );
  }
  const point: ReferencePointState = {
    id: randomUUID(),
    tag: checkpoint.tag,
    createdAt: new Date(),
    checkpointId: id,
    members: checkpoint.members.map(({ vmId }) => vmId),
    disks: checkpoint.disks.map(({ diskId, pointId, rctId }) => ({ diskId, id: pointId, rctId })),
  };
  const points = new Set(point.disks.map((disk) => disk.id));
  estate.state.update((state) => ({
    checkpoints: state.checkpoints.filter((each) => each.id !== id),
    referencePoints: [...state.referencePoints, point],
    ...mapSetEntries(state, (entry) => [points.has(entry.snapshotId) ? { ...entry, file: null } : entry]),
  }));
  await mergeFreeDisks(estate);
  return referencePointView(point);
}

/** Takes reference points and their entries in the VHD Sets away, and forgets the tracking that nobody can ask for any more. */
export function destroyReferencePoint(estate: RunningEstate, id: string): void {
  const point = estate.state.current.referencePoints.find((each) => each.id === id);
  if (point === undefined) return;
  estate.state.update((state) => ({
    ...withoutSetEntries(state, new Set(point.disks.map((disk) => disk.id))),
    referencePoints: state.referencePoints.filter((each) => each.id !== id),
  }));
  writeVhdSetFiles(estate);
  const { referencePoints, checkpoints } = estate.state.current;
  for (const { diskId } of point.disks) {
    const holders = [
      ...referencePoints.flatMap(({ disks }): readonly TrackedDisk[] => disks),
      ...checkpoints.flatMap(({ disks }): readonly TrackedDisk[] => disks),
    ];
    const needed = holders.filter((disk) => disk.diskId === diskId).map(({ rctId }) => rctId);
    estate.trackers.get(diskId)?.prune(new Set(needed));
  }
}

async function mergeFreeDisks(estate: RunningEstate): Promise<void> {
  writeVhdSetFiles(estate);
  if (estate.faults.take("merge-fails") !== undefined) {
    throw new BackupError(
      "MERGE_UNFINISHED",
      "the differencing files were not merged (VMMS event 19100: general access denied); grant the rights and ask again",
      { retry: "later" },
    );
  }
  for (const { diskId } of estate.layout.disks) await estate.mergeIfFree(diskId);
  await estate.settleFiles();
  writeVhdSetFiles(estate);
}

interface TrackedDisk {
  readonly diskId: DiskId;
  readonly rctId: string;
}

/** The entries of all VHD Sets after a change. */
function mapSetEntries(
  state: HostState,
  change: (entry: SetEntry) => readonly SetEntry[],
): Pick<HostState, "setEntries"> {
  return {
    setEntries: Object.fromEntries(
      Object.entries(state.setEntries).map(([diskId, entries]) => [diskId, entries.flatMap(change)]),
    ),
  };
}
type SetEntry = NonNullable<HostState["setEntries"][DiskId]>[number];

function withoutSetEntries(state: HostState, ids: ReadonlySet<string>): Pick<HostState, "setEntries"> {
  return mapSetEntries(state, (entry) => (ids.has(entry.snapshotId) ? [] : [entry]));
}
