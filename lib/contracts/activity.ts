import * as z from "zod";
import {
  ConsistencyPoint,
  DiskSizes,
  MapRoot,
  OperationKind,
  OperationProgress,
  OperationState,
} from "./agent-operation.ts";
import { ByteCount } from "./byte-range.ts";
import { ChangeSource } from "./change-source.ts";
import { ErrorDocumentSchema } from "./error-document.ts";
import { GuestCluster } from "./guest-cluster.ts";
import { AgentId, DiskId, GuestClusterId, RunId } from "./ids.ts";
import { ReferencePoint } from "./reference-point.ts";
import { RunRecord } from "./run-record.ts";

/** An activity as both sides see it. Delivery is at least once, so every activity is safe to run twice. */
export interface ActivityContract<In extends z.ZodType, Out extends z.ZodType> {
  readonly name: string;
  readonly input: In;
  readonly output: Out;
  /** For failures that another try may cure; what no try can cure comes back as a value. */
  readonly retry: { readonly firstDelayMs: number; readonly attempts: number };
}

function activity<In extends z.ZodType, Out extends z.ZodType>(
  contract: Omit<ActivityContract<In, Out>, "retry">,
): ActivityContract<In, Out> {
  return { ...contract, retry: { firstDelayMs: 2_000, attempts: 5 } };
}

/** What the last manifest says of a disk: the base of the next incremental run. */
export const PreviousDisk = z.object({
  diskId: DiskId,
  virtualSizeBytes: ByteCount,
  mapRoot: MapRoot,
  referencePoint: ReferencePoint.nullable(),
});
export type PreviousDisk = z.infer<typeof PreviousDisk>;

const RunKey = z.object({ clusterId: GuestClusterId, runId: RunId });

export const claimGuestCluster = activity({
  name: "claimGuestCluster",
  input: RunKey,
  output: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("claimed") }),
    /** Another control plane holds the cluster. */
    z.object({ kind: z.literal("held"), byRun: z.string(), byControlPlane: z.string() }),
  ]),
});

export const releaseGuestCluster = activity({
  name: "releaseGuestCluster",
  input: RunKey,
  output: z.object({}),
});

export const planBackup = activity({
  name: "planBackup",
  input: RunKey,
  output: z.object({
    cluster: GuestCluster,
    /** Null before the first restore point. */
    previous: z.object({ manifest: z.string(), disks: z.array(PreviousDisk) }).nullable(),
  }),
});

export const driveAgentOperation = activity({
  name: "driveAgentOperation",
  input: z.object({
    ...RunKey.shape,
    agentId: AgentId,
    kind: OperationKind,
    input: z.unknown(),
    waitMs: z.int().nonnegative(),
  }),
  output: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("ended"), state: OperationState }),
    z.object({ kind: z.literal("running"), progress: OperationProgress.optional() }),
    z.object({ kind: z.literal("unreachable"), error: ErrorDocumentSchema }),
    /** The agent answers, and says no: another try is of no use. */
    z.object({ kind: z.literal("refused"), error: ErrorDocumentSchema }),
  ]),
});

/** Everything that the manifest of a run says, put together by the orchestrator from the steps' results. */
export const RestorePointDraft = z.object({
  ...RunKey.shape,
  predecessor: z.string().nullable(),
  createdAt: z.iso.datetime(),
  point: ConsistencyPoint,
  disks: z.array(
    z.object({
      diskId: DiskId,
      mapRoot: MapRoot,
      referencePoint: ReferencePoint,
      source: ChangeSource,
      sizes: DiskSizes,
    }),
  ),
});
export type RestorePointDraft = z.infer<typeof RestorePointDraft>;

export const commitRestorePoint: ActivityContract<
  typeof RestorePointDraft,
  z.ZodObject<{ manifest: z.ZodString }>
> = {
  name: "commitRestorePoint",
  input: RestorePointDraft,
  output: z.object({ manifest: z.string() }),
  // A commit without an answer may have happened; committing again finds it. So it is tried for about twenty minutes.
  retry: { firstDelayMs: 5_000, attempts: 9 },
};

export const recordRun = activity({ name: "recordRun", input: RunRecord, output: z.object({}) });

/** Input of the backup orchestrator. */
export const BackupRequest = z.object({
  ...RunKey.shape,
  requested: z.enum(["incremental", "full", "compare"]),
  trigger: RunRecord.shape.trigger,
});
export type BackupRequest = z.infer<typeof BackupRequest>;

/** Input of the restore orchestrator. */
export const RestoreRequest = z.object({
  ...RunKey.shape,
  agentId: AgentId,
  manifest: z.string().min(1),
  targetDirectory: z.string().min(1),
  diskIds: z.array(DiskId).min(1).optional(),
});
export type RestoreRequest = z.infer<typeof RestoreRequest>;
