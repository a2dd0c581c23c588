import type { RegisteredFunction } from "../core/function-registry.ts";
import { invoke, InvocationError } from "../core/invoke.ts";
import { labelActions, OrchestratorReply, type Action } from "./actions.ts";
import type { EngineContext } from "./engine-context.ts";
import type { FailureDetails } from "./events.ts";
import { toJson } from "./json.ts";
import type { InstanceRow } from "./store.ts";
import { thrownBy } from "./failures.ts";

/** How an execution ended, as the orchestrator's code says; open tasks may still hold it back. */
export type Ending =
  | { readonly kind: "completed"; readonly output: string | null }
  | { readonly kind: "failed"; readonly error: string; readonly failureDetails?: FailureDetails | undefined }
  | { readonly kind: "continued" };

export interface OrchestratorAnswer {
  readonly actions: readonly Action[];
  readonly labels: readonly number[];
  readonly ending: Ending | undefined;
  /** JSON text, or undefined when the orchestrator set none. */
  readonly customStatus: string | undefined;
  /** The SDK's own open task ids, where it lets them be seen. */
  readonly openKeys: ReadonlySet<string> | undefined;
}

/** Schema V4 of the out-of-process protocol (replay schema 3): polling HTTP calls, long timers, entity locks. */
const SCHEMA_VERSION = 3;
const STATE_LABEL = "$OutOfProcData$:";

/**
 * Runs the orchestrator's code over a history, given as JSON lines, and reads its answer.
 * The code's own failure is an answer, not an exception.
 */
export async function callOrchestrator(
  engine: EngineContext,
  fn: RegisteredFunction,
  row: InstanceRow,
  lines: readonly string[],
): Promise<OrchestratorAnswer> {
  const payload =
    `{"history":[${lines.join(",")}],"input":${row.input ?? "null"},"instanceId":${JSON.stringify(row.id)},` +
    `"parentInstanceId":${JSON.stringify(row.parent)},"isReplaying":false,` +
    `"upperSchemaVersion":${SCHEMA_VERSION},"upperSchemaVersionNew":${SCHEMA_VERSION},` +
    `"longRunningTimerIntervalDuration":"3.00:00:00","maximumShortTimerDuration":"6.00:00:00",` +
    `"defaultHttpAsyncRequestSleepTimeMillseconds":${engine.settings.httpSettings.defaultAsyncRequestSleepTimeMilliseconds}}`;
  const request = {
    inputData: [{ name: fn.triggerName, data: { json: payload } }],
    triggerMetadata: { instanceId: { string: row.id } },
  };
  try {
    const { response, context, result } = await invoke(engine.registry, fn, request, engine.log);
    const reply: unknown = JSON.parse(response.returnValue?.json ?? "null");
    return readAnswer(
      reply,
      undefined,
      executorOf(context),
      (result as { actions?: unknown } | undefined)?.actions,
    );
  } catch (error) {
    const thrown = thrownBy(error);
    const at = thrown.message.indexOf(STATE_LABEL);
    const context = error instanceof InvocationError ? error.context : undefined;
    if (at < 0) {
      return readAnswer(
        { isDone: false, actions: [[]], error: thrown.message },
        thrown,
        undefined,
        undefined,
      );
    }
    const state: unknown = JSON.parse(thrown.message.slice(at + STATE_LABEL.length));
    return readAnswer(state, thrown, executorOf(context), undefined);
  }
}

function readAnswer(
  raw: unknown,
  thrown: Error | undefined,
  executor: Executor | undefined,
  liveActions: unknown,
): OrchestratorAnswer {
  const parsed = OrchestratorReply.safeParse(raw);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const error = `The orchestrator's answer can't be read (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}). Is the handler a durable-functions orchestrator?`;
    return {
      actions: [],
      labels: [],
      ending: { kind: "failed", error },
      customStatus: undefined,
      openKeys: undefined,
    };
  }
  const reply = parsed.data;
  const actions = reply.actions.flat();
  const live =
    executor?.actions ?? (Array.isArray(liveActions) ? (liveActions as unknown[]).flat() : undefined);
  const labels = live === undefined ? [] : labelActions(live);
  return {
    actions,
    labels,
    ending: endingOf(reply, thrown),
    customStatus: reply.customStatus === undefined ? undefined : JSON.stringify(reply.customStatus),
    openKeys: executor?.openTasks === undefined ? undefined : new Set(Object.keys(executor.openTasks)),
  };
}

function endingOf(reply: OrchestratorReply, thrown: Error | undefined): Ending | undefined {
  if (thrown !== undefined) {
    const failureDetails = reply.failureDetails ?? undefined;
    return { kind: "failed", error: explain(reply.error ?? ""), failureDetails };
  }
  if (!reply.isDone) return undefined;
  if (reply.actions.flat().at(-1)?.actionType === 4) return { kind: "continued" };
  return { kind: "completed", output: toJson(reply.output) ?? null };
}

/** Adds what to do to the SDK's messages for the known traps. */
function explain(error: string): string {
  if (error === "") {
    return (
      "The orchestrator threw something without a message (an empty Error, or a value that is no Error). Azure would " +
      "leave such an instance running for ever: throw an Error with a message."
    );
  }
  if (
    /yielded data of type undefined|generator\.(next|throw) is not a function|is not iterable/.test(error)
  ) {
    return `${error} An orchestrator must be a plain generator (function*): neither async nor an ordinary function.`;
  }
  return error;
}

interface Executor {
  readonly actions?: unknown[];
  readonly openTasks?: Record<string, unknown>;
}

/** durable-functions keeps its executor on `context.df`; other versions may not, and then less is checked. */
function executorOf(context: unknown): Executor | undefined {
  const df = (context as { df?: { taskOrchestratorExecutor?: Executor } } | undefined)?.df;
  return df?.taskOrchestratorExecutor;
}
