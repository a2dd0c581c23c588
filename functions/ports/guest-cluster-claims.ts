import { createHash } from "node:crypto";
import { RestError, type BlockBlobClient, type ContainerClient } from "@azure/storage-blob";
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

const ATTEMPTS = 3;

/**
 * An infinite lease on the blob `claims/<cluster>`; who holds it stands in the blob's metadata. Metadata is written under the lease
 * and cleared before its release, and a lease is only broken while the metadata is still what was read: of two control planes
 * that meet here, one loses and reads again.
 */
export function blobLeaseClaims(container: ContainerClient, controlPlane: string): GuestClusterClaims {
  const blobOf = (clusterId: GuestClusterId) => container.getBlockBlobClient(`claims/${clusterId}`);

  /** Breaks a lease that a dead run of ours left behind, or one whose holder died before it said who it is. */
  async function breakStale(blob: BlockBlobClient): Promise<Extract<Claim, { kind: "held" }> | undefined> {
    const { metadata, etag } = await blob.getProperties();
    const holder = Holder.safeParse(metadata).data;
    if (holder !== undefined && holder.controlplane !== controlPlane) {
      return { kind: "held", byRun: holder.runid, byControlPlane: holder.controlplane };
    }
    const conditions = etag === undefined ? {} : { ifMatch: etag };
    await ignoring(["ConditionNotMet", "LeaseNotPresentWithLeaseOperation"], () =>
      blob.getBlobLeaseClient().breakLease(0, { conditions }),
    );
    return undefined;
  }

  return {
    async claim(clusterId, runId) {
      const blob = blobOf(clusterId);
      await ignoring(["BlobAlreadyExists", "LeaseIdMissing"], () =>
        blob.upload("", 0, { conditions: { ifNoneMatch: "*" } }),
      );
      const leaseId = leaseIdOf(runId);
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (
          await ignoring(["LeaseAlreadyPresent"], () => blob.getBlobLeaseClient(leaseId).acquireLease(-1))
        ) {
          await blob.setMetadata({ runid: runId, controlplane: controlPlane }, { conditions: { leaseId } });
          return { kind: "claimed" };
        }
        const held = await breakStale(blob);
        if (held !== undefined) return held;
      }
      return { kind: "held", byRun: "unknown", byControlPlane: "unknown" };
    },
    async release(clusterId, runId) {
      const blob = blobOf(clusterId);
      const leaseId = leaseIdOf(runId);
      const isOurs = await ignoring(NOT_OURS, () => blob.setMetadata({}, { conditions: { leaseId } }));
      if (isOurs) await ignoring(NOT_OURS, () => blob.getBlobLeaseClient(leaseId).releaseLease());
    },
  };
}

const NOT_OURS = [
  "BlobNotFound",
  "LeaseIdMismatchWithBlobOperation",
  "LeaseIdMismatchWithLeaseOperation",
  "LeaseLost",
  "LeaseNotPresentWithBlobOperation",
  "LeaseNotPresentWithLeaseOperation",
];

/** The object `claims/<cluster>` itself, for stores without leases; it stays until its holder releases it. */
export function objectClaims(store: ObjectStore, controlPlane: string): GuestClusterClaims {
  const nameOf = (clusterId: GuestClusterId) => `claims/${clusterId}`;
  const readHolder = async (clusterId: GuestClusterId) => {
    const bytes = await store.get(nameOf(clusterId));
    if (bytes === undefined) return undefined;
    const holder = Holder.safeParse(parseJson(bytes));
    return holder.data ?? { runid: "unknown", controlplane: "unknown (the claim cannot be read)" };
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

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
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
