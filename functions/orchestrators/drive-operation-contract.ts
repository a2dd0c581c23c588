import * as z from "zod";
import {
  AgentId,
  ErrorDocumentSchema,
  GuestClusterId,
  OperationKind,
  RunId,
} from "../../lib/contracts/index.ts";

export const DriveOperationInput = z.object({
  clusterId: GuestClusterId,
  runId: RunId,
  agentId: AgentId,
  kind: OperationKind,
  input: z.unknown(),
  /** Carried over each continue-as-new: when this operation was first asked for. */
  firstAskedAt: z.iso.datetime().optional(),
  /** Since when the agent has not answered; absent while it does. */
  silentSince: z.iso.datetime().optional(),
  silentAttempts: z.int().nonnegative().optional(),
});
export type DriveOperationInput = z.infer<typeof DriveOperationInput>;

/** Never an exception: an error document keeps its code and facts on the way to the parent. */
export const DriveOperationOutput = z.discriminatedUnion("ok", [
  z.object({ ok: z.literal(true), result: z.unknown() }),
  z.object({ ok: z.literal(false), error: ErrorDocumentSchema }),
]);
export type DriveOperationOutput = z.infer<typeof DriveOperationOutput>;
