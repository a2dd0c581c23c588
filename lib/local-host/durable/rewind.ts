import type { CommandResult } from "./client-commands.ts";
import type { DurableEngine } from "./engine.ts";
import { EventType, historyEvent, type HistoryEvent } from "./events.ts";
import { callOrchestrator } from "./orchestrator-call.ts";
import { isFinished, type InstanceRow } from "./store.ts";
import { OrchestratorFault } from "./orchestrator-fault.ts";
import { Walker } from "./walker.ts";

interface Plan {
  readonly row: InstanceRow;
  readonly kept: readonly HistoryEvent[];
}

/**
 * Sends a failed instance back to before its last failed task and lets it run on: tasks that failed are run again, what
 * was asked for after the failure is forgotten, other tasks that completed keep their results. Failed sub-orchestrations
 * are rewound themselves.
 */
export async function rewindInstance(
  engine: DurableEngine,
  id: string,
  reason: string,
): Promise<CommandResult | "not-failed"> {
  const { store, db, wake } = engine.context;
  const row = store.get(id);
  if (row === undefined) return "not-found";
  if (row.status !== "Failed") return isFinished(row.status) ? "finished" : "not-failed";
  const plans = await planRewind(engine, row);
  const isDone = db.transaction(() => {
    if (store.get(id)?.execution !== row.execution || store.get(id)?.status !== "Failed") return false;
    for (const plan of plans) applyPlan(engine, plan, reason);
    return true;
  });
  if (!isDone) return "not-failed";
  for (const plan of plans) {
    engine.orchestrations.forget(plan.row.id);
    wake.instance(plan.row.id);
  }
  return "accepted";
}

/** The plans for an instance and for its failed sub-orchestrations. */
async function planRewind(engine: DurableEngine, row: InstanceRow): Promise<Plan[]> {
  const { store } = engine.context;
  const lines = store.history(row.id);
  const events = lines.map((line) => JSON.parse(line) as HistoryEvent);
  const suspects = await idsOfLastFailure(engine, row, lines, events);
  const { kept, failedChildren } = withoutFailures(
    events,
    (id) => suspects?.has(id) ?? true,
    (child) => store.get(child)?.status === "Failed",
  );
  const children: Plan[] = [];
  for (const child of failedChildren) {
    const childRow = store.get(child);
    if (childRow !== undefined) children.push(...(await planRewind(engine, childRow)));
  }
  return [{ row, kept }, ...children];
}

/** Which task ids belong to the step that failed last; undefined when the code no longer fits the history. */
async function idsOfLastFailure(
  engine: DurableEngine,
  row: InstanceRow,
  lines: readonly string[],
  events: readonly HistoryEvent[],
): Promise<ReadonlySet<number> | undefined> {
  const { registry, settings } = engine.context;
  const fn = registry.find(row.name, "orchestrationtrigger");
  if (fn === undefined) return undefined;
  const { actions, labels } = await callOrchestrator(engine.context, fn, row, lines);
  const walker = new Walker(actions, labels, settings.httpSettings.defaultAsyncRequestSleepTimeMilliseconds);
  try {
    for (const event of events) walker.apply(event);
  } catch (error) {
    if (error instanceof OrchestratorFault) return undefined;
    throw error;
  }
  return walker.idsOfLastFailure;
}

function applyPlan(engine: DurableEngine, { row, kept }: Plan, reason: string): void {
  const { store, clock } = engine.context;
  const nowMs = clock.now();
  store.replaceHistory(
    row.id,
    kept.map((event) => JSON.stringify(event)),
  );
  store.update(row.id, { status: "Running", output: null, custom_status: row.custom_status, updated: nowMs });
  // A message that says nothing but "go on".
  store.send(
    row.id,
    row.execution,
    nowMs,
    historyEvent({ EventType: EventType.GenericEvent, Reason: reason }, nowMs),
  );
}

/**
 * A failed history without what must be done again: the failed tasks, and every task that was asked for after the first
 * of them failed (its retries, and what the code did about the failure).
 *
 * @param isSuspect whether a task id belongs to the step that is to be done again
 * @param canRewindChild whether a failed sub-orchestration is still there to go on itself
 */
export function withoutFailures(
  events: readonly HistoryEvent[],
  isSuspect: (taskId: number) => boolean,
  canRewindChild: (instanceId: string) => boolean,
): { readonly kept: HistoryEvent[]; readonly failedChildren: string[] } {
  const failedIds = new Set<number>();
  let firstAt = events.length;
  events.forEach((event, index) => {
    if (!isFailure(event) || !isSuspect(event.TaskScheduledId)) return;
    failedIds.add(event.TaskScheduledId);
    firstAt = Math.min(firstAt, index);
  });
  const laterIds = new Set(events.slice(firstAt).flatMap(({ EventId }) => (EventId >= 0 ? [EventId] : [])));
  const failedChildren: string[] = [];
  const kept = events.filter((event) => {
    if (event.EventType === EventType.ExecutionCompleted) return false;
    const id = taskIdOf(event);
    if (id === undefined) return true;
    if (laterIds.has(id)) return false;
    if (!failedIds.has(id)) return true;
    if (event.EventType !== EventType.SubOrchestrationInstanceCreated || !canRewindChild(event.InstanceId))
      return false;
    failedChildren.push(event.InstanceId);
    return true;
  });
  return { kept, failedChildren };
}

function isFailure(event: HistoryEvent): event is Extract<HistoryEvent, { EventType: 6 | 9 }> {
  return (
    event.EventType === EventType.TaskFailed || event.EventType === EventType.SubOrchestrationInstanceFailed
  );
}

function taskIdOf(event: HistoryEvent): number | undefined {
  if (event.EventId >= 0) return event.EventId;
  if ("TaskScheduledId" in event) return event.TaskScheduledId;
  return "TimerId" in event ? event.TimerId : undefined;
}
