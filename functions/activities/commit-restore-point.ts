import type { commitRestorePoint, RestorePointDraft } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import type { ManifestDisk } from "../../lib/repository/index.ts";
import type { Ports } from "../ports/ports.ts";
import type { ActivityOf } from "./activity.ts";

/** Writes the manifest, last and only if it is not there: from here the restore point exists. */
export function createCommitRestorePoint({
  repository,
}: Pick<Ports, "repository">): ActivityOf<typeof commitRestorePoint> {
  return async (draft) => {
    const { clusterId, runId, createdAt, predecessor, point } = draft;
    const manifest = await (
      await repository()
    ).commitManifest({
      clusterId,
      runId,
      createdAt,
      predecessor,
      consistency: point.consistency,
      members: point.members,
      storageSnapshots: point.storageSnapshots,
      disks: draft.disks.map((disk) => manifestDisk(draft, disk)),
      writtenBy: "guest-cluster-backup",
    });
    return { manifest };
  };
}

function manifestDisk({ point }: RestorePointDraft, disk: RestorePointDraft["disks"][number]): ManifestDisk {
  const { diskId, mapRoot, referencePoint, source, sizes } = disk;
  const inPoint = point.disks.find((each) => each.diskId === diskId);
  if (inPoint === undefined) {
    throw new BackupError("STEP_RESULTS_DISAGREE", `disk ${diskId} is not part of the consistency point`);
  }
  return { ...inPoint, mapRoot, referencePoint, changeSource: source, sizes };
}
