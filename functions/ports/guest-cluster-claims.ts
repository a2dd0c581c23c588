import { createHash } from "node:crypto";
import { RestError, type ContainerClient } from "@azure/storage-blob";
import * as z from "zod";
import type { GuestClusterId, RunId } from "../../lib/contracts/index.ts";
import type { ObjectStore } from "../../lib/repository/index.ts";

export type Claim =
  | { readonly kind: "claimed" }
  | { readonly kind: "held"; readonly byRun: string; readonly byControlPlane: string };

/**
 * Keeps two control planes from backing up the same guest cluster. Within one control plane the deterministic instance id
 * already makes runs exclusive, so a claim of our own control plane that another run left behind is stale and is taken over.
 */
export interface GuestClusterClaims {
  /** Claiming again for the same run succeeds. */
  claim(clusterId: GuestClusterId, runId: RunId): Promise<Claim>;
  /** Released already, or held by another run by now, is fine. */
  release(clusterId: GuestClusterId, runId: RunId): Promise<void>;
}

const Holder = z.object({ runid: z.string(), controlplane: z.string() });

/** An infinite lease on the blob `claims/<cluster>`; who holds it stands in the blob's metadata. */
export function blobLeaseClaims(container: ContainerClient, controlPlane: string): GuestClusterClaims {
  const blobOf = (clusterId: GuestClusterId) => container.getBlockBlobClient(`claims/${clusterId}`);
  return {
    async claim(clusterId, runId) {
      const blob = blobOf(clusterId);
      await ignoring(["BlobAlreadyExists", "LeaseIdMissing"], () =>
        blob.upload("", 0, { conditions: { ifNoneMatch: "*" } }),
      );
      const leaseId = leaseIdOf(runId);
      const lease = blob.getBlobLeaseClient(leaseId);
      const isOurs = await ignoring(["LeaseAlreadyPresent"], () => lease.acquireLease(-1));
      if (!isOurs) {
        const { metadata } = await blob.getProperties();
        const holder = Holder.safeParse(metadata).data ?? { runid: "unknown", controlplane: "unknown" };
        if (holder.controlplane !== controlPlane) {
          return { kind: "held", byRun: holder.runid, byControlPlane: holder.controlplane };
        }
        await lease.breakLease(0);
        await lease.acquireLease(-1);
      }
      await blob.setMetadata({ runid: runId, controlplane: controlPlane }, { conditions: { leaseId } });
      return { kind: "claimed" };
    },
    async release(clusterId, runId) {
      const lease = blobOf(clusterId).getBlobLeaseClient(leaseIdOf(runId));
      await ignoring(
        ["LeaseIdMismatchWithLeaseOperation", "LeaseNotPresentWithLeaseOperation", "BlobNotFound"],
        () => lease.releaseLease(),
      );
    },
  };
}

/** The object `claims/<cluster>` itself, for stores without leases; it stays until its holder releases it. */
export function objectClaims(store: ObjectStore, controlPlane: string): GuestClusterClaims {
  const nameOf = (clusterId: GuestClusterId) => `claims/${clusterId}`;
  const readHolder = async (clusterId: GuestClusterId) => {
    const bytes = await store.get(nameOf(clusterId));
    return bytes === undefined ? undefined : Holder.safeParse(JSON.parse(Buffer.from(bytes).toString())).data;
  };
  return {
    async claim(clusterId, runId) {
      const bytes = Buffer.from(JSON.stringify({ runid: runId, controlplane: controlPlane }));
      if ((await store.put(nameOf(clusterId), bytes, { ifAbsent: true })) === "created")
        return { kind: "claimed" };
      const holder = await readHolder(clusterId);
      if (holder !== undefined && holder.controlplane !== controlPlane) {
        return { kind: "held", byRun: holder.runid, byControlPlane: holder.controlplane };
      }
      await store.put(nameOf(clusterId), bytes, { ifAbsent: false });
      return { kind: "claimed" };
    },
    async release(clusterId, runId) {
      if ((await readHolder(clusterId))?.runid === runId) await store.remove(nameOf(clusterId));
    },
  };
}

/** Lease ids are GUIDs; derived from the run, so that a repeated claim of one run presents the same id. */
function leaseIdOf(runId: RunId): string {
  const hex = createHash("sha256").update(`gcb claim ${runId}`).digest("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    "-",
  );
}

/** Whether `act` succeeded; false for the expected refusals, anything else is thrown. */
async function ignoring(codes: readonly string[], act: () => Promise<unknown>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    if (error instanceof RestError && error.code !== undefined && codes.includes(error.code)) return false;
    throw error;
  }
}
