import type { HyperVHost } from "../../agent/hyperv-host.ts";
import type { DiskId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import { pageOfRuns } from "../tracking/granules.ts";
import type { RunningEstate } from "./running-estate.ts";

type ChangesRequest = Parameters<HyperVHost["getDiskChanges"]>[0];

/** Ranges in one answer; the real call has no documented limit, clients use 50 to 100 (hyperv.md §4.2). */
const MAX_RANGES = 1000;

/**
 * What was written between two reference points that are both on record, from the fine map: never less than what differs.
 *
 * @throws BackupError REFERENCE_POINT_LOST, TRACKING_DISABLED when it cannot be known
 */
export function diskChanges(
  estate: RunningEstate,
  request: ChangesRequest,
): Awaited<ReturnType<HyperVHost["getDiskChanges"]>> {
  const { diskId, shared } = estate.diskAt(request.path);
  const isThis = (fault: { readonly diskId?: string | undefined }) => (fault.diskId ?? diskId) === diskId;
  const lose = (why: string) =>
    new BackupError("REFERENCE_POINT_LOST", `${request.path}: ${why}; the disk must be read completely`, {
      facts: { path: request.path },
    });
  if (estate.faults.take("tracking-disabled", isThis) !== undefined) {
    throw new BackupError(
      "TRACKING_DISABLED",
      `change tracking of ${request.path} is off (0xC03A002A); the disk must be read completely`,
      { facts: { path: request.path } },
    );
  }
  const tracker = estate.trackers.get(diskId);
  if (tracker === undefined) throw lose("the host does not track the disk");
  if (estate.faults.take("tracking-lost", isThis) !== undefined) tracker.lose();
  for (const point of [request.since, request.until]) {
    if (!isOnRecord(estate, diskId, shared, point)) throw lose(`the host has no reference point ${point.id}`);
  }
  const end = request.range.offsetBytes + request.range.lengthBytes;
  if (end > estate.disk(diskId).sizeBytes) {
    throw new BackupError(
      "HYPERV_CALL_FAILED",
      `${request.path} is shorter than ${end} bytes; ask inside the disk`,
      {
        facts: { path: request.path, end },
      },
    );
  }
  const changes = tracker.changes(request.since.rctId, request.until.rctId);
  if (changes.kind === "lost") throw lose(changes.reason);
  return pageOfRuns(changes.runs, request.range, MAX_RANGES);
}

/** Shared disks: an entry of the VHD Set, reference-only ones too. Private disks: a reference point or checkpoint. */
function isOnRecord(
  estate: RunningEstate,
  diskId: DiskId,
  shared: boolean,
  { id, rctId }: { readonly id: string; readonly rctId: string },
): boolean {
  const { setEntries, referencePoints, checkpoints } = estate.state.current;
  if (shared) {
    return (setEntries[diskId] ?? []).some((entry) => entry.snapshotId === id && entry.rctId === rctId);
  }
  return (
    referencePoints.some(({ disks }) => disks.some((disk) => disk.id === id && disk.rctId === rctId)) ||
    checkpoints.some(({ disks }) => disks.some((disk) => disk.pointId === id && disk.rctId === rctId))
  );
}
