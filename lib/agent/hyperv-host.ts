import type { ByteRange, Consistency, DiskId, Leftover, VmId } from "../contracts/index.ts";

/*
 * What the agent needs of a Hyper-V host. One method is one verb on the host: a PowerShell script on the real one, a call to
 * the simulated one. Every effect carries the run's tag, so that after a crash the same question finds the same thing again.
 * Paths are the host's own. All methods reject with BackupError.
 */

export interface VirtualMachine {
  readonly vmId: VmId;
  readonly name: string;
  readonly state: "running" | "off" | "paused" | "saved" | "other";
  /** "5.0", "8.0", … (`Msvm_VirtualSystemSettingData.Version`) */
  readonly configurationVersion: string;
  /** `Msvm_VssComponent.OperationalStatus[0]`: 2 and 3 are usable. */
  readonly vssStatus: "ok" | "degraded" | "incompatible" | "no-contact" | "lost-communication";
  readonly disks: readonly AttachedDisk[];
  readonly checkpoints: readonly {
    readonly id: string;
    readonly kind: "user" | "recovery";
    readonly name: string;
  }[];
}

export interface AttachedDisk {
  readonly diskId: DiskId;
  /** The `.vhds` of a VHD Set, or the file of a private disk as it was created (not a checkpoint's `.avhdx`). */
  readonly path: string;
  readonly shared: boolean;
}

/** `Msvm_VssService.QueryGuestClusterInformation` of one member (hyperv.md §1.7). */
export interface GuestClusterInformation {
  readonly vmId: VmId;
  readonly clusterId: string | null;
  readonly clusterSize: number;
  readonly sharedDisks: readonly {
    readonly path: string;
    readonly isClustered: boolean;
    readonly isOnline: boolean;
    /** Owned by this very member. */
    readonly isOwned: boolean;
    /** Cluster Shared Volume inside the guest: cannot be checkpointed. */
    readonly isActiveActive: boolean;
  }[];
}

/** What the host itself must offer before a collection can be checkpointed. */
export interface HostReadiness {
  readonly configStoreRootPath: string | null;
  readonly volumes: readonly {
    readonly directory: string;
    readonly freeBytes: number;
    readonly usedBytes: number;
  }[];
  /** Members that may not write to the folder of one of their disks (event 19100). */
  readonly missingFolderRights: readonly { readonly vmId: VmId; readonly directory: string }[];
}

export interface CheckpointedMember {
  readonly vmId: VmId;
  readonly checkpointId: string;
  readonly consistency: Consistency;
  readonly frozenAt: Date;
  readonly thawedAt: Date;
  readonly frozenMs: number;
}

export interface CheckpointedDisk extends AttachedDisk {
  readonly attachedTo: readonly VmId[];
  /** The file that is static since the checkpoint: what this restore point consists of, with its parents. */
  readonly staticPath: string;
  /** Shared disks: the checkpoint's entry in the VHD Set. */
  readonly setSnapshotId: string | null;
}

export interface RecoveryCheckpoint {
  readonly snapshotCollectionId: string;
  readonly tag: string;
  readonly members: readonly CheckpointedMember[];
  readonly disks: readonly CheckpointedDisk[];
}

export interface StorageSnapshot {
  readonly storageSnapshotId: string;
  readonly tag: string;
  /** Where the volumes' files can be read: a path below `directory` is found at the same place below `exposedAs`. */
  readonly volumes: readonly { readonly directory: string; readonly exposedAs: string }[];
}

export interface DiskReferencePoint {
  readonly diskId: DiskId;
  readonly id: string;
  readonly rctId: string;
}

export interface ReferencePointCollection {
  readonly referencePointCollectionId: string;
  readonly tag: string;
  readonly createdAt: Date;
  readonly disks: readonly DiskReferencePoint[];
}

/** One entry of a VHD Set (`Msvm_VHDSnapshotInformation`); `path` null = reference only, no data. */
export interface VhdSetEntry {
  readonly snapshotId: string;
  readonly path: string | null;
  readonly rctId: string;
  readonly createdAt: Date;
}

export interface VhdSetInformation {
  readonly path: string;
  /** The file that the members write to now. */
  readonly activePath: string;
  /** Files of the active chain, leaf first. Length 1 when every checkpoint is merged. */
  readonly chain: readonly string[];
  readonly entries: readonly VhdSetEntry[];
}

export interface HyperVHost {
  describe(): Promise<{ readonly name: string; readonly implementation: "hyper-v" | "simulated" }>;

  /** Members that this host does not know are missing from the answer. */
  getVirtualMachines(vmIds: readonly VmId[]): Promise<readonly VirtualMachine[]>;
  getGuestClusterInformation(vmIds: readonly VmId[]): Promise<readonly GuestClusterInformation[]>;
  getReadiness(vmIds: readonly VmId[]): Promise<HostReadiness>;

  /** Creates or finds the collection of exactly these members; a member that left is removed, a new one added. */
  ensureCollection(name: string, vmIds: readonly VmId[]): Promise<string>;

  /**
   * Freezes all members, switches every disk to a differencing file, thaws. The host itself thaws at `deadlineMs` even if the
   * caller is gone. Rejects with QUIESCE_TIMED_OUT or QUIESCE_FAILED, members running and nothing left behind.
   */
  createRecoveryCheckpoint(request: {
    readonly collectionId: string;
    readonly tag: string;
    readonly consistency: Consistency;
    readonly deadlineMs: number;
  }): Promise<RecoveryCheckpoint>;
  /** Recovery checkpoints of these members that are there now, whoever made them. */
  findRecoveryCheckpoints(vmIds: readonly VmId[]): Promise<readonly RecoveryCheckpoint[]>;
  /** Removes the checkpoint and merges its differencing files. Gone already is fine. */
  destroyRecoveryCheckpoint(snapshotCollectionId: string): Promise<void>;

  /** ONE storage snapshot of all volumes that hold these paths. */
  createStorageSnapshot(request: {
    readonly tag: string;
    readonly paths: readonly string[];
  }): Promise<StorageSnapshot>;
  findStorageSnapshots(): Promise<readonly StorageSnapshot[]>;
  /** Gone already is fine. */
  releaseStorageSnapshot(storageSnapshotId: string): Promise<void>;

  /** Turns the checkpoint into reference points and merges its differencing files; resolves once they are merged. */
  convertToReferencePoint(snapshotCollectionId: string): Promise<ReferencePointCollection>;
  findReferencePoints(vmIds: readonly VmId[]): Promise<readonly ReferencePointCollection[]>;
  /** Gone already is fine. Shared disks: the reference-only entries of the VHD Sets go too. */
  destroyReferencePoint(referencePointCollectionId: string): Promise<void>;
  getVhdSetInformation(path: string): Promise<VhdSetInformation>;

  /**
   * What may have changed on the virtual disk between two reference points, in ascending order; at most a page, the caller
   * goes on at offset + processedBytes. Rejects with REFERENCE_POINT_LOST or TRACKING_DISABLED when it cannot know.
   */
  getDiskChanges(request: {
    readonly path: string;
    readonly since: { readonly id: string; readonly rctId: string };
    readonly until: { readonly id: string; readonly rctId: string };
    readonly range: ByteRange;
  }): Promise<{ readonly processedBytes: number; readonly ranges: readonly ByteRange[] }>;

  /** Whatever a backup could have left on these members: checkpoints, storage snapshots, orphan files, frozen members. */
  findLeftovers(vmIds: readonly VmId[]): Promise<readonly Leftover[]>;
}
