import type { claimGuestCluster, releaseGuestCluster } from "../../lib/contracts/index.ts";
import type { Ports } from "../ports/ports.ts";
import type { ActivityOf } from "./activity.ts";

export function createClaimGuestCluster({
  claims,
}: Pick<Ports, "claims">): ActivityOf<typeof claimGuestCluster> {
  return ({ clusterId, runId }) => claims.claim(clusterId, runId);
}

export function createReleaseGuestCluster({
  claims,
}: Pick<Ports, "claims">): ActivityOf<typeof releaseGuestCluster> {
  return async ({ clusterId, runId }) => {
    await claims.release(clusterId, runId);
    return {};
  };
}
