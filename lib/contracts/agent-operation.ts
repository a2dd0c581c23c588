import * as z from "zod";
import { ByteCount } from "./byte-range.ts";
import { ChangeSource } from "./change-source.ts";
import { Consistency, ConsistencyPolicy } from "./consistency.ts";
import { ErrorDocumentSchema } from "./error-document.ts";
import { DiskId, GuestClusterId, RunId, VmId } from "./ids.ts";
import { ReferencePoint } from "./reference-point.ts";

/*
 * The agent's HTTP contract (behind the Relay, DESIGN §2):
 *   PUT    /v1/operations/{runId}.{step}   body OperationRequest → 200/202 OperationState; the same PUT again finds it
 *   GET    /v1/operations/{id}?waitMs=N    long poll, at most 25 s → 200 OperationState, 404
 *   DELETE /v1/runs/{runId}                undo the run: creates or finds the operation {runId}.undo → 202 OperationState
 *   GET    /v1/health                      → 200 AgentHealth
 * Errors are problem documents: { error: ErrorDocument }.
 */

/** Where chunks go. The URL may carry a SAS token: it is a secret, never logged, never kept in orchestration history. */
const RepositoryAccess = z.object({ url: z.string().min(1) });

const Members = z.array(VmId).min(1);

/** One thing left behind on the host, with what an operator does about it. */
export const Leftover = z.object({
  kind: z.enum([
    "recovery-checkpoint",
    "storage-snapshot",
    "reference-point",
    "orphan-avhdx",
    "frozen-member",
  ]),
  id: z.string(),
  /** The VM, disk or volume that it belongs to. */
  subject: z.string(),
  remedy: z.string(),
});
export type Leftover = z.infer<typeof Leftover>;

/** One cause that the preflight found. `refuse` stops the run before anything is touched. */
export const PreflightFinding = z.object({
  code: z.string().regex(/^PREFLIGHT_[A-Z_]+$/),
  severity: z.enum(["refuse", "warn"]),
  subject: z.string(),
  message: z.string(),
  remedy: z.string(),
});
export type PreflightFinding = z.infer<typeof PreflightFinding>;

/** One disk at the consistency point; shared disks appear once however many members have them. */
export const PointDisk = z.object({
  diskId: DiskId,
  /** File base name without folder: what a person recognises. */
  label: z.string(),
  shared: z.boolean(),
  attachedTo: z.array(VmId).min(1),
  virtualSizeBytes: ByteCount,
  logicalSectorBytes: z.union([z.literal(512), z.literal(4096)]),
  physicalSectorBytes: z.union([z.literal(512), z.literal(4096)]),
  blockBytes: ByteCount,
});
export type PointDisk = z.infer<typeof PointDisk>;

export const PointMember = z.object({
  vmId: VmId,
  name: z.string(),
  configurationVersion: z.string(),
  consistency: Consistency,
  frozenAt: z.iso.datetime(),
  thawedAt: z.iso.datetime(),
  /** Freeze to thaw as measured on the host, in milliseconds. */
  frozenMs: z.number().nonnegative(),
});
export type PointMember = z.infer<typeof PointMember>;

export const ConsistencyPoint = z.object({
  consistency: Consistency,
  members: z.array(PointMember).min(1),
  disks: z.array(PointDisk).min(1),
  /** How many storage snapshots were taken for this point. One, however many members and disks. */
  storageSnapshots: z.int().nonnegative(),
});
export type ConsistencyPoint = z.infer<typeof ConsistencyPoint>;

export const DiskSizes = z.object({
  /** Bytes of the disk that may be non-zero. */
  allocatedBytes: ByteCount,
  /** Bytes of the change ranges as the host gave them; allocatedBytes for a full run. */
  changedBytes: ByteCount,
  /** changedBytes rounded out to whole chunks: the most that an incremental run may read. */
  changedChunkBytes: ByteCount,
  /** Bytes read from the storage snapshot. */
  readBytes: ByteCount,
  /** Plain bytes of chunks that the repository did not have. */
  newChunkBytes: ByteCount,
  /** Bytes sent to the store for this disk: sealed chunks, map nodes and its share of the index. */
  uploadedBytes: ByteCount,
});
export type DiskSizes = z.infer<typeof DiskSizes>;

/** Root of a disk's map in the repository; with the size it is the digest of the whole disk. 64 hex digits. */
export const MapRoot = z.string().regex(/^[0-9a-f]{64}$/);

/** Every operation kind: what goes in, what comes out. The step name in the operation id is the kind. */
export const OPERATIONS = {
  preflight: {
    input: z.object({ members: Members, consistency: ConsistencyPolicy }),
    result: z.object({ findings: z.array(PreflightFinding) }),
  },
  "consistency-point": {
    input: z.object({
      members: Members,
      consistency: ConsistencyPolicy,
      includePrivateDisks: z.boolean(),
      /** No member stays frozen longer than this, whatever happens to the agent. Milliseconds. */
      frozenDeadlineMs: z.int().positive(),
    }),
    result: ConsistencyPoint,
  },
  "update-references": {
    input: z.object({}),
    result: z.object({ disks: z.array(z.object({ diskId: DiskId, referencePoint: ReferencePoint })) }),
  },
  "change-ranges": {
    input: z.object({
      /** What the last manifest says of each disk; a disk that is missing here gets a first full backup. */
      previous: z.array(
        z.object({ diskId: DiskId, virtualSizeBytes: ByteCount, referencePoint: ReferencePoint.nullable() }),
      ),
      requested: z.enum(["incremental", "full", "compare"]),
    }),
    result: z.object({
      disks: z.array(
        z.object({
          diskId: DiskId,
          source: ChangeSource,
          changedBytes: ByteCount,
          ranges: z.int().nonnegative(),
        }),
      ),
    }),
  },
  ship: {
    input: z.object({
      repository: RepositoryAccess,
      /** Map roots of the last manifest, against which unchanged segments are re-used. */
      base: z.array(z.object({ diskId: DiskId, mapRoot: MapRoot, virtualSizeBytes: ByteCount })),
    }),
    result: z.object({ disks: z.array(z.object({ diskId: DiskId, mapRoot: MapRoot, sizes: DiskSizes })) }),
  },
  "clean-up": {
    input: z.object({
      /** Reference points that the committed manifest names: these stay, older ones of the members go. */
      keep: z.array(ReferencePoint),
    }),
    result: z.object({ leftovers: z.array(Leftover) }),
  },
  undo: {
    input: z.object({}),
    result: z.object({ undone: z.array(z.string()), leftovers: z.array(Leftover) }),
  },
  restore: {
    input: z.object({
      repository: RepositoryAccess,
      manifest: z.string().min(1),
      /** Folder on the agent's host; must lie under one of its configured restore roots. Created when missing. */
      targetDirectory: z.string().min(1),
      /** All disks when absent. */
      diskIds: z.array(DiskId).optional(),
    }),
    result: z.object({
      disks: z.array(
        z.object({
          diskId: DiskId,
          label: z.string(),
          path: z.string(),
          virtualSizeBytes: ByteCount,
          mapRoot: MapRoot,
          /** The map root recomputed from the restored file equals the manifest's. */
          identical: z.boolean(),
          writtenBytes: ByteCount,
        }),
      ),
    }),
  },
} as const;

export type OperationKind = keyof typeof OPERATIONS;
export const OperationKind = z.enum(Object.keys(OPERATIONS) as [OperationKind, ...OperationKind[]]);
/** An input as the agent gets it. */
export type OperationInput<K extends OperationKind> = z.infer<(typeof OPERATIONS)[K]["input"]>;
/** An input as it stands in orchestration history: without the repository URL, which is added just before it is sent. */
export type OperationArguments<K extends OperationKind> = Omit<OperationInput<K>, "repository">;
/** Operations that need the repository: the control plane adds its URL when it sends them. */
export const NEEDS_REPOSITORY: ReadonlySet<OperationKind> = new Set<OperationKind>(["ship", "restore"]);
export type OperationResult<K extends OperationKind> = z.infer<(typeof OPERATIONS)[K]["result"]>;

export const OperationRequest = z.object({
  kind: OperationKind,
  runId: RunId,
  clusterId: GuestClusterId,
  input: z.unknown(),
});
export type OperationRequest = z.infer<typeof OperationRequest>;

export const OperationProgress = z.object({ doneBytes: ByteCount, totalBytes: ByteCount, note: z.string() });
export type OperationProgress = z.infer<typeof OperationProgress>;

const operationBase = {
  operationId: z.string(),
  kind: OperationKind,
  runId: RunId,
  clusterId: GuestClusterId,
  startedAt: z.iso.datetime(),
};

/** `result` is checked against the kind's own schema by whoever asked for it. */
export const OperationState = z.discriminatedUnion("state", [
  z.object({ ...operationBase, state: z.literal("running"), progress: OperationProgress.optional() }),
  z.object({
    ...operationBase,
    state: z.literal("succeeded"),
    endedAt: z.iso.datetime(),
    result: z.unknown(),
  }),
  z.object({
    ...operationBase,
    state: z.literal("failed"),
    endedAt: z.iso.datetime(),
    error: ErrorDocumentSchema,
  }),
]);
export type OperationState = z.infer<typeof OperationState>;

/** Operation ids are derived, so that the same step of the same run is the same operation. */
export function operationIdOf(runId: RunId, kind: OperationKind): string {
  return `${runId}.${kind}`;
}

export const AgentHealth = z.object({
  agentId: z.string(),
  version: z.string(),
  startedAt: z.iso.datetime(),
  host: z.object({ name: z.string(), implementation: z.enum(["hyper-v", "simulated"]) }),
  runningOperations: z.array(z.string()),
});
export type AgentHealth = z.infer<typeof AgentHealth>;
