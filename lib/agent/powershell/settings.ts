import * as z from "zod";

/** What a diskshadow script may name without quoting: no blank, no quote, no %, nothing that ends a line. */
const PlainWindowsPath = z
  .string()
  .regex(/^[A-Za-z]:\\[A-Za-z0-9._\\-]*$/, "a local path of letters, digits, dot, hyphen and underscore");

/**
 * Settings of the PowerShell host. Each one that stands for something Microsoft does not state is marked "inferred"; all of
 * them are listed in docs/verification.md with how to find out.
 */
export const PowerShellSettings = z.strictObject({
  /** Namespace of single VMs, disks and images (hyperv.md §1). */
  namespace: z.string().default("root\\virtualization\\v2"),
  /** Namespace of collections. Inferred: members on several nodes need `root\HyperVCluster\v2` (open question 2). */
  collectionNamespace: z.string().default("root\\virtualization\\v2"),
  /** Inferred to work on every release: documented value 2, "recovery" (open question 1). */
  collectionSnapshotType: z.int().min(0).max(65_535).default(2),
  /** 32768, "recovery", as xHyper and bareos pass it; not in the documented list (hyperv.md §1.2). */
  vmSnapshotType: z.int().min(0).max(65_535).default(32_768),
  /** Inferred: what `LimitId` takes for a VHD Set (open question 3). */
  limitIdForSets: z.enum(["snapshot-id", "rct-id"]).default("snapshot-id"),
  /** Inferred: the order of `Msvm_VHDSetInformation.AllPaths`. */
  vhdSetOrder: z.enum(["leaf-first", "root-first"]).default("leaf-first"),
  /** False: a pass-through disk makes the checkpoint fail instead of being left out silently. */
  ignoreNonSnapshottableDisks: z.boolean().default(false),
  /** `copy` leaves the guests' own backup chains (SQL logs) alone; only from Windows 1703 on. */
  guestBackupType: z.enum(["full", "copy"]).default("copy"),
  /** Whether the rights on the disks' folders are looked at. Inferred what event 19100 asks for. */
  checkFolderRights: z.boolean().default(true),
  /** How the storage snapshot is taken. `win32-shadow-copy` makes one volume only. */
  storageSnapshot: z.enum(["diskshadow", "win32-shadow-copy"]).default("diskshadow"),
  /** GUID of a VSS provider; absent: the host's default order, hardware first. */
  storageSnapshotProvider: z.guid().optional(),
  /** Inferred: whether `add volume` takes alias and provider together (open question 11). */
  diskshadowAlias: z.boolean().default(true),
  /** Where the agent keeps its records on the host and mounts storage snapshots. */
  stateDirectory: PlainWindowsPath.default("C:\\ProgramData\\guest-cluster-backup"),
  executionPolicy: z.enum(["AllSigned", "RemoteSigned", "Bypass"]).default("RemoteSigned"),
  /** Most bytes of a disk that one `GetVirtualDiskChanges` is asked about. */
  changeChunkBytes: z.int().min(65_536).default(1_073_741_824),
  /** Most change ranges in a page, about: a page ends after the call that passes it. */
  maximumRanges: z.int().min(1).default(20_000),
  /** How long a WMI job may take that is neither a freeze nor a merge. */
  callTimeoutMs: z.int().positive().default(300_000),
  guestQueryTimeoutMs: z.int().positive().default(60_000),
  /** After a freeze that timed out: how long the host looks for what its job may still make. */
  settleMs: z.int().nonnegative().default(30_000),
  mergeTimeoutMs: z.int().positive().default(3_600_000),
  storageSnapshotTimeoutMs: z.int().positive().default(600_000),
  /** Most bytes of output of one call. */
  maximumOutputBytes: z.int().positive().default(67_108_864),
});
export type PowerShellSettings = z.infer<typeof PowerShellSettings>;
