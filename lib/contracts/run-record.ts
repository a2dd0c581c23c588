import * as z from "zod";
import { ConsistencyPoint, DiskSizes, Leftover, OPERATIONS, PreflightFinding } from "./agent-operation.ts";
import { ChangeSource } from "./change-source.ts";
import { ErrorDocumentSchema } from "./error-document.ts";
import { DiskId, GuestClusterId, RunId } from "./ids.ts";

/**
 * How a run ended.
 * - refused: the preflight or the claim said no; nothing was touched
 * - committed: the restore point exists and nothing is left behind
 * - committed-with-leftovers: the restore point exists, something stayed on the host; never reported as plain success
 * - undone: it failed, everything was taken back
 * - failed: it failed, and taking back did not fully succeed: see leftovers and undoError
 * - restored: every disk was written and proved
 */
export const RunState = z.enum([
  "running",
  "refused",
  "committed",
  "committed-with-leftovers",
  "undone",
  "failed",
  "restored",
]);
export type RunState = z.infer<typeof RunState>;

const RunStep = z.object({
  name: z.string(),
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime(),
  outcome: z.enum(["succeeded", "failed"]),
});
export type RunStep = z.infer<typeof RunStep>;

/** What is known of one run, kept in the repository for every run, also for those that failed. */
export const RunRecord = z.object({
  formatVersion: z.literal(1),
  runId: RunId,
  clusterId: GuestClusterId,
  kind: z.enum(["backup", "restore"]),
  trigger: z.enum(["request", "schedule"]),
  state: RunState,
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime().optional(),
  steps: z.array(RunStep),
  findings: z.array(PreflightFinding).default([]),
  /** Name of the manifest that this run committed or restored from. */
  restorePoint: z.string().optional(),
  point: ConsistencyPoint.optional(),
  disks: z
    .array(z.object({ diskId: DiskId, label: z.string(), source: ChangeSource, sizes: DiskSizes }))
    .optional(),
  restored: OPERATIONS.restore.result.shape.disks.optional(),
  leftovers: z.array(Leftover).default([]),
  error: ErrorDocumentSchema.optional(),
  /** Why taking back did not succeed, beside the first error. */
  undoError: ErrorDocumentSchema.optional(),
});
export type RunRecord = z.infer<typeof RunRecord>;
