import { randomUUID } from "node:crypto";
import { activityInput } from "./decisions.ts";
import { failureEvent, type Wakes } from "./effects.ts";
import type { EngineContext } from "./engine-context.ts";
import { sendToEntity } from "./entity-messages.ts";
import { EventType, historyEvent, type Failure, type HistoryEvent } from "./events.ts";
import type { Ending } from "./orchestrator-call.ts";
import type { InboxRow, InstanceRow } from "./store.ts";
import type { Walker } from "./walker.ts";

/**
 * Completes or fails an instance, inside the episode's transaction.
 * @returns the last line of the history
 */
export function finish(
  engine: EngineContext,
  row: InstanceRow,
  ending: Exclude<Ending, { kind: "continued" }>,
  customStatus: string | null,
  nowMs: number,
  wakes: Wakes,
): HistoryEvent {
  const { store } = engine;
  const isOk = ending.kind === "completed";
  const reason = isOk ? "" : `Orchestrator function '${row.name}' failed: ${ending.error}`;
  const output = isOk ? ending.output : JSON.stringify(reason);
  const status = isOk ? "Completed" : "Failed";
  store.update(row.id, { status, output, custom_status: customStatus, updated: nowMs });
  const failure = isOk
    ? undefined
    : { reason, details: `Message: ${ending.error}, StackTrace: `, failureDetails: ending.failureDetails };
  afterEnd(engine, row, isOk ? (ending.output ?? "null") : undefined, failure, nowMs, wakes);
  return historyEvent(
    {
      EventType: EventType.ExecutionCompleted,
      Result: output,
      OrchestrationStatus: status,
      ...(failure?.failureDetails === undefined ? {} : { FailureDetails: failure.failureDetails }),
    },
    nowMs,
  );
}

/** Ends an instance by order, in a transaction of its own; its due messages go. */
export function terminate(
  engine: EngineContext,
  row: InstanceRow,
  due: readonly InboxRow[],
  event: HistoryEvent,
  nowMs: number,
): void {
  const { store, db } = engine;
  const wakes: Wakes = [];
  db.transaction(() => {
    const reason = event.EventType === EventType.ExecutionTerminated ? (event.Input ?? "") : "";
    const output = JSON.stringify(reason);
    const events = [
      historyEvent({ EventType: EventType.OrchestratorStarted }, nowMs),
      event,
      historyEvent(
        { EventType: EventType.ExecutionCompleted, Result: output, OrchestrationStatus: "Terminated" },
        nowMs,
      ),
      historyEvent({ EventType: EventType.OrchestratorCompleted }, nowMs),
    ];
    store.append(
      row.id,
      store.history(row.id).length,
      events.map((each) => JSON.stringify(each)),
    );
    store.take(due);
    store.update(row.id, {
      status: "Terminated",
      output,
      custom_status: row.custom_status,
      updated: nowMs,
    });
    afterEnd(engine, row, undefined, { reason, details: reason, failureDetails: undefined }, nowMs, wakes);
  });
  for (const wake of wakes) wake();
}

/** Tells the parent, gives back locks that are still held, and drops what the execution had under way. */
function afterEnd(
  engine: EngineContext,
  row: InstanceRow,
  result: string | undefined,
  failure: Failure | undefined,
  nowMs: number,
  wakes: Wakes,
): void {
  const { store, wake } = engine;
  const { parent, parent_task: task, parent_execution: execution } = row;
  if (parent !== null && task !== null) {
    const event =
      failure === undefined
        ? historyEvent(
            {
              EventType: EventType.SubOrchestrationInstanceCompleted,
              TaskScheduledId: task,
              Result: result ?? "null",
            },
            nowMs,
          )
        : failureEvent("sub", task, failure, nowMs);
    store.send(parent, execution, nowMs, event);
    wakes.push(() => {
      wake.instance(parent);
    });
  }
  releaseLocks(engine, row, nowMs, wakes);
  store.dropPending(row.id);
}

function releaseLocks(engine: EngineContext, row: InstanceRow, nowMs: number, wakes: Wakes): void {
  const held = engine.db.all<{ id: string; locked_by: string }>(
    "SELECT id, locked_by FROM entities WHERE locked_for = ?",
    row.id,
  );
  for (const { id, locked_by: lock } of held) {
    wakes.push(sendToEntity(engine, id, { kind: "release", id: lock, parent: row.id }, nowMs, nowMs));
  }
}

/** Begins the next execution of an instance, inside the episode's transaction. */
export function continueAsNew(
  engine: EngineContext,
  row: InstanceRow,
  walker: Walker | undefined,
  customStatus: string | null,
  nowMs: number,
  wakes: Wakes,
): void {
  const { store, wake, log } = engine;
  const execution = randomUUID().replaceAll("-", "");
  // The SDK encodes a string twice here, as it does for activities.
  const given = walker?.continuedAsNew?.input;
  const input = activityInput(given) ?? null;
  const lost = walker?.unclaimedEvents ?? [];
  if (lost.length > 0) {
    log({
      level: "warning",
      category: "host",
      message: `Orchestration '${row.id}' continued as new with unclaimed external events (${lost.join(", ")}); they are dropped, as Azure does for JavaScript.`,
    });
  }
  releaseLocks(engine, row, nowMs, wakes);
  store.renew(row.id, execution, input, nowMs);
  store.update(row.id, { status: "Running", output: null, custom_status: customStatus, updated: nowMs });
  // Due since the beginning of time, so that it comes before every event that waits already.
  store.send(
    row.id,
    execution,
    0,
    historyEvent(
      { EventType: EventType.ExecutionStarted, Name: row.name, Input: input, Version: row.version },
      nowMs,
    ),
  );
  wakes.push(() => {
    wake.instance(row.id);
  });
}
