import * as z from "zod";
import type { HyperVHost } from "../../agent/hyperv-host.ts";
import { ByteRange, Consistency, DiskId, Leftover, VmId } from "../../contracts/index.ts";

/*
 * How the port travels: POST /v1/{method} with the arguments as a JSON array; 200 with the result as JSON (null for none), or 4xx
 * and 5xx with an error document. Dates are ISO strings. Both ends parse by this table.
 */

const Instant = z.iso.datetime().transform((text) => new Date(text));
const VmIds = z.array(VmId).readonly();
const Nothing = z.null().transform(() => undefined);

const AttachedDisk = z.object({ diskId: DiskId, path: z.string(), shared: z.boolean() });

const VirtualMachine = z.object({
  vmId: VmId,
  name: z.string(),
  state: z.enum(["running", "off", "paused", "saved", "other"]),
  configurationVersion: z.string(),
  vssStatus: z.enum(["ok", "degraded", "incompatible", "no-contact", "lost-communication"]),
  disks: z.array(AttachedDisk),
  checkpoints: z.array(z.object({ id: z.string(), kind: z.enum(["user", "recovery"]), name: z.string() })),
});

const GuestClusterInformation = z.object({
  vmId: VmId,
  clusterId: z.string().nullable(),
  clusterSize: z.int().nonnegative(),
  sharedDisks: z.array(
    z.object({
      path: z.string(),
      isClustered: z.boolean(),
      isOnline: z.boolean(),
      isOwned: z.boolean(),
      isActiveActive: z.boolean(),
    }),
  ),
});

const HostReadiness = z.object({
  configStoreRootPath: z.string().nullable(),
  volumes: z.array(z.object({ directory: z.string(), freeBytes: z.number(), usedBytes: z.number() })),
  missingFolderRights: z.array(z.object({ vmId: VmId, directory: z.string() })),
});

const RecoveryCheckpoint = z.object({
  snapshotCollectionId: z.string(),
  tag: z.string(),
  members: z.array(
    z.object({
      vmId: VmId,
      checkpointId: z.string(),
      consistency: Consistency,
      frozenAt: Instant,
      thawedAt: Instant,
      frozenMs: z.number().nonnegative(),
    }),
  ),
  disks: z.array(
    AttachedDisk.extend({
      attachedTo: z.array(VmId),
      staticPath: z.string(),
      setSnapshotId: z.string().nullable(),
    }),
  ),
});

const StorageSnapshot = z.object({
  storageSnapshotId: z.string(),
  tag: z.string(),
  volumes: z.array(z.object({ directory: z.string(), exposedAs: z.string() })),
});

const ReferencePointCollection = z.object({
  referencePointCollectionId: z.string(),
  tag: z.string(),
  createdAt: Instant,
  disks: z.array(z.object({ diskId: DiskId, id: z.string(), rctId: z.string() })),
});

const VhdSetInformation = z.object({
  path: z.string(),
  activePath: z.string(),
  chain: z.array(z.string()),
  entries: z.array(
    z.object({ snapshotId: z.string(), path: z.string().nullable(), rctId: z.string(), createdAt: Instant }),
  ),
});

const Point = z.object({ id: z.string(), rctId: z.string() });

export const METHODS = {
  describe: {
    args: z.tuple([]),
    result: z.object({ name: z.string(), implementation: z.enum(["hyper-v", "simulated"]) }),
  },
  getVirtualMachines: { args: z.tuple([VmIds]), result: z.array(VirtualMachine) },
  getGuestClusterInformation: { args: z.tuple([VmIds]), result: z.array(GuestClusterInformation) },
  getReadiness: { args: z.tuple([VmIds]), result: HostReadiness },
  ensureCollection: { args: z.tuple([z.string(), VmIds]), result: z.string() },
  createRecoveryCheckpoint: {
    args: z.tuple([
      z.object({
        collectionId: z.string(),
        tag: z.string(),
        consistency: Consistency,
        deadlineMs: z.number().positive().max(3_600_000),
      }),
    ]),
    result: RecoveryCheckpoint,
  },
  findRecoveryCheckpoints: { args: z.tuple([VmIds]), result: z.array(RecoveryCheckpoint) },
  destroyRecoveryCheckpoint: { args: z.tuple([z.string()]), result: Nothing },
  createStorageSnapshot: {
    args: z.tuple([z.object({ tag: z.string(), paths: z.array(z.string()) })]),
    result: StorageSnapshot,
  },
  findStorageSnapshots: { args: z.tuple([]), result: z.array(StorageSnapshot) },
  releaseStorageSnapshot: { args: z.tuple([z.string()]), result: Nothing },
  convertToReferencePoint: { args: z.tuple([z.string()]), result: ReferencePointCollection },
  findReferencePoints: { args: z.tuple([VmIds]), result: z.array(ReferencePointCollection) },
  destroyReferencePoint: { args: z.tuple([z.string()]), result: Nothing },
  getVhdSetInformation: { args: z.tuple([z.string()]), result: VhdSetInformation },
  getDiskChanges: {
    args: z.tuple([z.object({ path: z.string(), since: Point, until: Point, range: ByteRange })]),
    result: z.object({ processedBytes: z.number().nonnegative(), ranges: z.array(ByteRange) }),
  },
  findLeftovers: { args: z.tuple([VmIds]), result: z.array(Leftover) },
} as const satisfies Record<keyof HyperVHost, { readonly args: z.ZodType; readonly result: z.ZodType }>;

export type Method = keyof typeof METHODS;

export function isMethod(name: string): name is Method {
  return Object.hasOwn(METHODS, name);
}
