import type { OrchestrationContext, Task } from "durable-functions";
import { driveAgentOperation } from "../../lib/contracts/index.ts";
import { errorOfTask, pauseAfterSilence, planPoll } from "../../lib/orchestration/index.ts";
import { call } from "./call.ts";
import { DriveOperationInput, type DriveOperationOutput } from "./drive-operation-contract.ts";

/** An agent that restarts is back within seconds, a host that reboots within minutes; after this somebody must look. */
const SILENCE_LIMIT_MS = 20 * 60_000;

/**
 * Drives one agent operation to its end. Each round asks once and continues as new, so the history stays a few events long
 * whether the operation takes a second or a night. The same request is sent every round: the agent creates or finds it.
 */
export function* driveOperation(
  context: OrchestrationContext,
): Generator<Task, DriveOperationOutput | undefined, unknown> {
  const input = DriveOperationInput.parse(context.df.getInput());
  const now = context.df.currentUtcDateTime;
  const firstAskedAt = input.firstAskedAt ?? now.toISOString();
  const { clusterId, runId, agentId, kind } = input;
  const poll = planPoll(now.getTime() - Date.parse(firstAskedAt));

  let answer;
  try {
    const request = { clusterId, runId, agentId, kind, input: input.input, waitMs: poll.waitMs };
    answer = yield* call(context, driveAgentOperation, request);
  } catch (error) {
    return { ok: false, error: errorOfTask(error) };
  }

  const next = { clusterId, runId, agentId, kind, input: input.input, firstAskedAt };
  switch (answer.kind) {
    case "ended":
      if (answer.state.state === "succeeded") return { ok: true, result: answer.state.result };
      if (answer.state.state === "failed") return { ok: false, error: answer.state.error };
      break;
    case "refused":
      return { ok: false, error: answer.error };
    case "unreachable": {
      const silentSince = input.silentSince ?? now.toISOString();
      const silentMs = now.getTime() - Date.parse(silentSince);
      if (silentMs > SILENCE_LIMIT_MS)
        return { ok: false, error: silence(agentId, silentMs, answer.error.message) };
      const silentAttempts = (input.silentAttempts ?? 0) + 1;
      context.df.setCustomStatus({
        kind,
        agent: "unreachable",
        since: silentSince,
        why: answer.error.message,
      });
      yield context.df.createTimer(after(context, pauseAfterSilence(silentAttempts - 1)));
      context.df.continueAsNew({ ...next, silentSince, silentAttempts } satisfies DriveOperationInput);
      return undefined;
    }
    case "running":
      context.df.setCustomStatus({ kind, agent: "running", progress: answer.progress ?? null });
      break;
  }
  if (poll.pauseMs > 0) yield context.df.createTimer(after(context, poll.pauseMs));
  context.df.continueAsNew(next satisfies DriveOperationInput);
  return undefined;
}

function after(context: OrchestrationContext, delayMs: number): Date {
  return new Date(context.df.currentUtcDateTime.getTime() + delayMs);
}

function silence(agentId: string, silentMs: number, why: string) {
  return {
    code: "AGENT_SILENT",
    message:
      `agent ${agentId} has not answered for ${String(Math.round(silentMs / 60_000))} minutes (${why}); ` +
      "check the agent's service and its Hybrid Connection, then start the run again",
    retry: "later",
    facts: { agentId, silentMs },
  } as const;
}
