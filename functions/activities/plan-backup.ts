import type { GuestCluster, GuestClusterId, planBackup } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import type { Ports } from "../ports/ports.ts";
import type { ActivityOf } from "./activity.ts";

/** Finds what the run is about: the guest cluster as configured, and the last restore point to continue from. */
export function createPlanBackup(
  ports: Pick<Ports, "guestClusters" | "repository">,
): ActivityOf<typeof planBackup> {
  return async ({ clusterId }) => {
    const cluster = findGuestCluster(ports.guestClusters, clusterId);
    const repository = await ports.repository();
    const latest = await repository.latestManifest(clusterId);
    if (latest === undefined) return { cluster, previous: null };
    const disks = latest.manifest.disks.map(({ diskId, virtualSizeBytes, mapRoot, referencePoint }) => {
      return { diskId, virtualSizeBytes, mapRoot, referencePoint };
    });
    return { cluster, previous: { manifest: latest.name, disks } };
  };
}

/** @throws BackupError GUEST_CLUSTER_UNKNOWN */
export function findGuestCluster(clusters: readonly GuestCluster[], clusterId: GuestClusterId): GuestCluster {
  const found = clusters.find(({ id }) => id === clusterId);
  if (found !== undefined) return found;
  const known = clusters.map(({ id }) => id).join(", ") || "none";
  throw new BackupError(
    "GUEST_CLUSTER_UNKNOWN",
    `guest cluster "${clusterId}" is not configured; known are: ${known}. Add it to the setting GCB_GUEST_CLUSTERS`,
    { retry: "after-operator", facts: { clusterId } },
  );
}
