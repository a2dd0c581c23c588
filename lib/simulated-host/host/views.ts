import { join } from "node:path";
import type { RecoveryCheckpoint, ReferencePointCollection } from "../../agent/hyperv-host.ts";
import { volumeFolder } from "../estate/layout.ts";
import type { RunningEstate } from "./running-estate.ts";
import type { CheckpointState, ReferencePointState } from "./state.ts";

/** A checkpoint as the port shows it: with the host's paths. */
export function checkpointView(estate: RunningEstate, checkpoint: CheckpointState): RecoveryCheckpoint {
  return {
    snapshotCollectionId: checkpoint.id,
    tag: checkpoint.tag,
    members: checkpoint.members,
    disks: checkpoint.disks.map(({ diskId, staticFile, pointId }) => {
      const disk = estate.diskLayout(diskId);
      const folder = volumeFolder(estate.folder, disk.volume);
      return {
        diskId,
        path: join(folder, disk.file),
        shared: disk.shared,
        attachedTo: disk.attachedTo,
        staticPath: join(folder, staticFile),
        setSnapshotId: disk.shared ? pointId : null,
      };
    }),
  };
}

export function referencePointView(point: ReferencePointState): ReferencePointCollection {
  const { id, tag, createdAt, disks } = point;
  return { referencePointCollectionId: id, tag, createdAt, disks };
}
