import { randomUUID } from "node:crypto";
import { HTTP_ACTIVITY, schedulingEvent, type Decision } from "./decisions.ts";
import type { EngineContext } from "./engine-context.ts";
import { sendToEntity, type EntityMessage } from "./entity-messages.ts";
import { EventType, historyEvent, type EventBody, type Failure, type HistoryEvent } from "./events.ts";
import { isFinished, type InstanceRow } from "./store.ts";

/** Called after the transaction: wakes whoever got something. */
export type Wakes = (() => void)[];

/**
 * Carries out one decision inside the episode's transaction and gives its line for the history.
 */
export function carryOut(
  engine: EngineContext,
  row: InstanceRow,
  decision: Decision,
  nowMs: number,
  wakes: Wakes,
): HistoryEvent {
  const { store, wake } = engine;
  const own = { instance: row.id, execution: row.execution };
  const record = (target = "", message = ""): HistoryEvent =>
    historyEvent(schedulingEvent(decision, target, message), nowMs, decision.id);
  switch (decision.kind) {
    case "activity":
      store.addWork({
        kind: "activity",
        ...own,
        task: decision.id,
        name: decision.name,
        input: decision.input ?? null,
        notBefore: 0,
      });
      wakes.push(wake.work);
      return record();
    case "http":
      store.addWork({
        kind: "http",
        ...own,
        task: decision.id,
        name: HTTP_ACTIVITY,
        input: JSON.stringify(decision.request),
        notBefore: decision.notBefore,
      });
      wakes.push(decision.notBefore > nowMs ? wake.timer : wake.work);
      return record();
    case "timer": {
      const event = historyEvent(
        {
          EventType: EventType.TimerFired,
          TimerId: decision.id,
          FireAt: new Date(decision.fireAt).toISOString(),
        },
        decision.fireAt,
      );
      store.send(row.id, row.execution, decision.fireAt, event);
      wakes.push(
        decision.fireAt > nowMs
          ? wake.timer
          : () => {
              wake.instance(row.id);
            },
      );
      return record();
    }
    case "sub":
      return record(startSubOrchestration(engine, row, decision, nowMs, wakes));
    case "expired":
      store.send(
        row.id,
        row.execution,
        nowMs,
        failureEvent(decision.of, decision.id, decision.failure, nowMs),
      );
      wakes.push(() => {
        wake.instance(row.id);
      });
      return record();
    case "call":
    case "signal": {
      const message: EntityMessage = {
        kind: "op",
        id: randomUUID(),
        op: decision.operation,
        signal: decision.kind === "signal",
        input: decision.input,
        parent: row.id,
        parentExecution: row.execution,
      };
      wakes.push(sendToEntity(engine, decision.entity, message, Math.max(decision.notBefore, nowMs), nowMs));
      return record(decision.entity, JSON.stringify(message));
    }
    case "lock": {
      const [first = ""] = decision.entities;
      const message: EntityMessage = {
        kind: "lock",
        id: decision.requestId,
        entities: decision.entities,
        position: 0,
        parent: row.id,
        parentExecution: row.execution,
      };
      wakes.push(sendToEntity(engine, first, message, nowMs, nowMs));
      return record(first, JSON.stringify(message));
    }
    case "unlock": {
      const message: EntityMessage = { kind: "release", id: decision.requestId, parent: row.id };
      wakes.push(sendToEntity(engine, decision.entity, message, nowMs, nowMs));
      return record(decision.entity, JSON.stringify(message));
    }
  }
}

/** @returns the id of the new instance */
function startSubOrchestration(
  engine: EngineContext,
  row: InstanceRow,
  decision: Extract<Decision, { kind: "sub" }>,
  nowMs: number,
  wakes: Wakes,
): string {
  const { store, wake, settings } = engine;
  // The form that the Durable Task Framework gives: the parent's execution and the task id.
  const id =
    decision.instanceId ?? `${row.execution}:${decision.id.toString(16).toUpperCase().padStart(4, "0")}`;
  const existing = store.get(id);
  if (existing !== undefined && !isFinished(existing.status)) {
    const reason = `An orchestration instance with the id '${id}' and the status ${existing.status} already exists.`;
    store.send(
      row.id,
      row.execution,
      nowMs,
      failureEvent("sub", decision.id, { reason, details: reason }, nowMs),
    );
    wakes.push(() => {
      wake.instance(row.id);
    });
    return id;
  }
  createInstance(engine, {
    id,
    name: decision.name,
    version: decision.version ?? settings.defaultVersion ?? "",
    input: decision.input,
    parent: { id: row.id, execution: row.execution, task: decision.id },
    nowMs,
  });
  wakes.push(() => {
    wake.instance(id);
  });
  return id;
}

export interface NewInstance {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly input: string | null;
  readonly parent?: { readonly id: string; readonly execution: string; readonly task: number };
  readonly nowMs: number;
}

/** Adds an instance with its first message; what a finished instance of that id left is replaced. */
export function createInstance(
  { store }: EngineContext,
  { id, name, version, input, parent, nowMs }: NewInstance,
): void {
  const execution = randomUUID().replaceAll("-", "");
  store.insert({
    id,
    execution,
    name,
    version,
    input,
    parent: parent?.id ?? null,
    parent_execution: parent?.execution ?? null,
    parent_task: parent?.task ?? null,
    created: nowMs,
  });
  store.send(
    id,
    execution,
    nowMs,
    historyEvent(
      { EventType: EventType.ExecutionStarted, Name: name, Input: input, Version: version },
      nowMs,
    ),
  );
}

export function failureEvent(
  of: "activity" | "sub",
  taskId: number,
  failure: Failure,
  nowMs: number,
): HistoryEvent {
  const fields = {
    TaskScheduledId: taskId,
    Reason: failure.reason,
    Details: failure.details,
    ...(failure.failureDetails === undefined ? {} : { FailureDetails: failure.failureDetails }),
  };
  const body: EventBody =
    of === "activity"
      ? { EventType: EventType.TaskFailed, ...fields }
      : { EventType: EventType.SubOrchestrationInstanceFailed, ...fields };
  return historyEvent(body, nowMs);
}
