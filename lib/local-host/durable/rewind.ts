import type { CommandResult } from "./client-commands.ts";
import type { DurableEngine } from "./engine.ts";
import { EventType, historyEvent, type HistoryEvent } from "./events.ts";
import type { InstanceRow } from "./store.ts";

/**
 * Sends a failed instance back to before its failed tasks and lets it run on: tasks that failed are run again, tasks that
 * completed keep their results. Failed sub-orchestrations are rewound themselves.
 */
export function rewindInstance(
  engine: DurableEngine,
  id: string,
  reason: string,
): CommandResult | "not-failed" {
  const { store, db, wake } = engine.context;
  const woken: string[] = [];
  const result = db.transaction((): CommandResult | "not-failed" => {
    const row = store.get(id);
    if (row === undefined) return "not-found";
    if (row.status === "Completed" || row.status === "Terminated") return "finished";
    if (row.status !== "Failed") return "not-failed";
    rewind(engine, row, reason, woken);
    return "accepted";
  });
  for (const each of woken) {
    engine.orchestrations.forget(each);
    wake.instance(each);
  }
  return result;
}

function rewind(engine: DurableEngine, row: InstanceRow, reason: string, woken: string[]): void {
  const { store, clock } = engine.context;
  const nowMs = clock.now();
  const events = store.history(row.id).map((line) => JSON.parse(line) as HistoryEvent);
  const { kept, failedChildren } = withoutFailures(events, (child) => store.get(child)?.status === "Failed");
  store.replaceHistory(
    row.id,
    kept.map((event) => JSON.stringify(event)),
  );
  store.update(row.id, { status: "Running", output: null, custom_status: row.custom_status, updated: nowMs });
  // A resume is the one message that only says "go on".
  store.send(
    row.id,
    row.execution,
    nowMs,
    historyEvent({ EventType: EventType.GenericEvent, Reason: reason }, nowMs),
  );
  woken.push(row.id);
  for (const child of failedChildren) {
    const childRow = store.get(child);
    if (childRow !== undefined) rewind(engine, childRow, reason, woken);
  }
}

/**
 * A failed history without what must be done again. From the last failure on that the orchestrator's code saw, every task
 * that was asked for later goes; the failed tasks go with all their tries; the rest stays.
 */
export function withoutFailures(
  events: readonly HistoryEvent[],
  canRewindChild: (instanceId: string) => boolean,
): { readonly kept: HistoryEvent[]; readonly failedChildren: string[] } {
  const failures = events.filter(
    (event) =>
      event.EventType === EventType.TaskFailed ||
      event.EventType === EventType.SubOrchestrationInstanceFailed,
  );
  const failedIds = new Set(failures.map((event) => event.TaskScheduledId));
  // Where the first failure entered: ids that were allotted after it may belong to its retries or to its handling.
  const firstAt = events.findIndex((event) => failures.includes(event as never));
  const laterIds = new Set(
    events
      .slice(firstAt < 0 ? events.length : firstAt)
      .flatMap((event) => (event.EventId >= 0 ? [event.EventId] : [])),
  );
  const failedChildren = events.flatMap((event) =>
    event.EventType === EventType.SubOrchestrationInstanceCreated &&
    failedIds.has(event.EventId) &&
    !laterIds.has(event.EventId) &&
    canRewindChild(event.InstanceId)
      ? [event.InstanceId]
      : [],
  );
  const childIds = new Set(failedChildren);
  const kept = events.filter((event) => {
    if (event.EventType === EventType.ExecutionCompleted || failures.includes(event as never)) return false;
    const id = taskIdOf(event);
    if (id === undefined) return true;
    if (laterIds.has(id)) return false;
    if (event.EventType === EventType.SubOrchestrationInstanceCreated && childIds.has(event.InstanceId))
      return true;
    return !failedIds.has(id);
  });
  return { kept, failedChildren };
}

function taskIdOf(event: HistoryEvent): number | undefined {
  if (event.EventId >= 0) return event.EventId;
  if ("TaskScheduledId" in event) return event.TaskScheduledId;
  return "TimerId" in event ? event.TimerId : undefined;
}
