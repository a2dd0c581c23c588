import { RetryOptions, type OrchestrationContext, type Task } from "durable-functions";
import * as z from "zod";
import {
  ErrorDocumentSchema,
  OPERATIONS,
  ORCHESTRATORS,
  type ActivityContract,
  type OperationArguments,
  type OperationKind,
  type OperationResult,
} from "../../lib/contracts/index.ts";
import { fromErrorDocument } from "../../lib/errors/index.ts";
import { DriveOperationOutput, type DriveOperationInput } from "./drive-operation-contract.ts";

/** What an activity hands back: an error that no retry can cure comes as a value, so that its code survives the journey. */
const Envelope = z.discriminatedUnion("ok", [
  z.object({ ok: z.literal(true), value: z.unknown() }),
  z.object({ ok: z.literal(false), error: ErrorDocumentSchema }),
]);

/**
 * Calls an activity, typed on both sides: `const plan = yield* call(context, planBackup, input)`.
 *
 * @throws BackupError what the activity refused; another error once its retries are used up (see errorOfTask)
 */
export function* call<In extends z.ZodType, Out extends z.ZodType>(
  context: OrchestrationContext,
  activity: ActivityContract<In, Out>,
  input: z.input<In>,
): Generator<Task, z.output<Out>, unknown> {
  const retry = new RetryOptions(activity.retry.firstDelayMs, activity.retry.attempts);
  retry.backoffCoefficient = 2;
  const envelope = Envelope.parse(yield context.df.callActivityWithRetry(activity.name, retry, input));
  if (!envelope.ok) throw fromErrorDocument(envelope.error);
  return activity.output.parse(envelope.value);
}

/**
 * Runs one agent operation to its end in a sub-orchestration, so that hours of polling leave two events in this history.
 *
 * @throws BackupError the operation's own error, or AGENT_SILENT
 */
export function* operate<K extends OperationKind>(
  context: OrchestrationContext,
  target: Pick<DriveOperationInput, "clusterId" | "runId" | "agentId">,
  kind: K,
  input: OperationArguments<K>,
): Generator<Task, OperationResult<K>, unknown> {
  const instanceId = `${target.runId}-${kind}`;
  const driven = yield context.df.callSubOrchestrator(
    ORCHESTRATORS.driveOperation,
    { ...target, kind, input } satisfies DriveOperationInput,
    instanceId,
  );
  const output = DriveOperationOutput.parse(driven);
  if (!output.ok) throw fromErrorDocument(output.error);
  // The schema of this kind gives exactly OperationResult<K>; the compiler cannot follow the index through the union.
  return OPERATIONS[kind].result.parse(output.result) as OperationResult<K>;
}
