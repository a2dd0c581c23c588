import * as z from "zod";
import { DiskId, Guid, VmId } from "../../contracts/index.ts";
import { listOf } from "./answer.ts";

/*
 * What each script answers. The scripts are ours, yet what they pass on comes from the host: it is checked like any other
 * input. Lists go through listOf, since Windows PowerShell 5.1 writes short lists oddly.
 */

const Text = z
  .string()
  .nullish()
  .transform((text) => text ?? "");
const Path = z.string().min(1);
/** Milliseconds since 1970; 0 = not known. */
const UnixMs = z.number().nonnegative();

export const HostDescription = z.object({ name: z.string().min(1) });

export const VirtualMachines = z.object({
  virtualMachines: listOf(
    z.object({
      vmId: VmId,
      name: Text,
      enabledState: z.int(),
      configurationVersion: z.string().min(1),
      vssStatus: z.int(),
      disks: listOf(z.object({ diskId: DiskId, path: Path, shared: z.boolean() })),
      checkpoints: listOf(z.object({ id: z.string().min(1), type: z.string(), name: Text })),
    }),
  ),
});

export const GuestClusters = z.object({
  members: listOf(
    z.object({
      vmId: VmId,
      clusterId: Text,
      clusterSize: z.int().nonnegative(),
      paths: listOf(Path),
      isClustered: listOf(z.boolean()),
      isOnline: listOf(z.boolean()),
      isOwned: listOf(z.boolean()),
      isActiveActive: listOf(z.boolean()),
    }),
  ),
});

export const Readiness = z.object({
  configStoreRootPath: Text,
  volumes: listOf(
    z.object({ directory: Path, freeBytes: z.number().nonnegative(), usedBytes: z.number().nonnegative() }),
  ),
  missingFolderRights: listOf(z.object({ vmId: VmId, directory: Path })),
});

export const CollectionId = z.object({ collectionId: z.string().min(1) });

export const Checkpoint = z.object({
  snapshotCollectionId: z.string().min(1),
  tag: Text,
  consistency: z.enum(["application", "crash", ""]),
  startedAtMs: UnixMs,
  endedAtMs: UnixMs,
  members: listOf(z.object({ vmId: VmId, checkpointId: z.string().min(1), createdAtMs: UnixMs })),
  disks: listOf(
    z.object({
      vmId: VmId,
      path: Path,
      diskId: DiskId,
      shared: z.boolean(),
      staticPath: Path,
      setSnapshotId: z.union([z.literal(""), Guid]),
    }),
  ),
});
export type Checkpoint = z.infer<typeof Checkpoint>;

export const Checkpoints = z.object({ checkpoints: listOf(Checkpoint) });

export const ReferencePoints = z.object({
  referencePointCollectionId: z.string().min(1),
  tag: Text,
  createdAtMs: UnixMs,
  disks: listOf(z.object({ diskId: DiskId, id: z.string().min(1), rctId: z.string().min(1) })),
});
export type ReferencePoints = z.infer<typeof ReferencePoints>;
export const FoundReferencePoints = z.object({ referencePoints: listOf(ReferencePoints) });

export const VhdSet = z.object({
  path: Path,
  chain: listOf(Path),
  entries: listOf(z.object({ snapshotId: Guid, path: Text, rctId: Text, creationTime: Text })),
});

export const DiskChanges = z.object({
  processedBytes: z.int().nonnegative(),
  offsets: z.string().regex(/^(?:\d+(?:,\d+)*)?$/),
  lengths: z.string().regex(/^(?:\d+(?:,\d+)*)?$/),
});

export const StorageVolumes = z.object({
  volumes: listOf(z.object({ path: Path, directory: Text, deviceId: Text, fileSystem: Text })),
});

export const LiveShadow = z.object({
  id: Guid,
  setId: Text,
  deviceObject: Text,
  volumeName: Text,
  exposedName: Text,
  persistent: z.boolean(),
});
export type LiveShadow = z.infer<typeof LiveShadow>;

export const ShadowsMade = z.object({ output: Text, live: listOf(LiveShadow) });
export const LiveShadows = z.object({ live: listOf(LiveShadow) });

export const SnapshotRecord = z.object({
  tag: z.string().min(1),
  method: z.enum(["diskshadow", "win32-shadow-copy"]),
  startedAtMs: UnixMs,
  before: listOf(z.string()),
  volumes: listOf(z.object({ directory: Path, deviceId: Text, mountPoint: Text })),
  shadowIds: listOf(Guid),
  output: Text,
});
export type SnapshotRecord = z.infer<typeof SnapshotRecord>;
export const SnapshotRecords = z.object({ records: listOf(SnapshotRecord), live: listOf(LiveShadow) });

export const Leftovers = z.object({
  orphanFiles: listOf(z.object({ path: Path, bytes: z.number().nonnegative() })),
  runningJobs: listOf(z.object({ jobId: z.string(), jobType: z.int(), vmId: VmId })),
  mountedImages: listOf(z.object({ path: Path })),
});

export const Done = z.looseObject({});
export const CopiedFiles = z.object({
  files: listOf(z.object({ name: z.string().min(1), bytes: z.number().nonnegative() })),
});
export const Placement = z.object({
  fits: z.boolean(),
  freeBytes: z.number().nonnegative(),
  supportsSharing: z.boolean(),
});
export const MadePath = z.object({ path: Path });
export const PlannedVm = z.object({
  vmId: VmId,
  name: Text,
  disks: listOf(z.object({ instanceId: z.string().min(1), hostResource: Text })),
});
export const CollectionMembers = z.object({ vmIds: listOf(VmId) });
