import { ActionType, type Action } from "./actions.ts";
import { activityInput, scheduledAs, type Decision } from "./decisions.ts";
import { EventType, type Failure, type HistoryEvent } from "./events.ts";
import { parseHttpAnswer, pollRequest } from "./http-polling.ts";
import { toJson } from "./json.ts";
import { OrchestratorFault } from "./orchestrator-fault.ts";
import { backOffMs, isRetryTimeOver } from "./retry-policy.ts";
import {
  blocksCompletion,
  canFinish,
  completionsToGo,
  hasFailed,
  isCancelled,
  isComposite,
  isEntityRequest,
  isTimer,
  newTaskNode,
  rootOf,
  type TaskNode,
} from "./task-node.ts";

/** Azure Storage's limits for one timer; a longer one is armed again by the SDK in steps. */
export const LONGEST_TIMER_MS = 6 * 24 * 3600 * 1000;
export const TIMER_STEP_MS = 3 * 24 * 3600 * 1000;

interface Settlement {
  readonly ok: boolean;
  readonly event: HistoryEvent;
}

/**
 * Follows one execution of an orchestrator from its history and the SDK's action list, and allots task ids exactly as
 * the SDK does. Ids are not in the actions: both sides count, event by event, in the same order (TaskOrchestrationExecutor
 * of durable-functions 3.5; the names of its steps are kept where they help).
 *
 * `apply` takes the history in order. Afterwards `decisions` holds what is asked for and not yet recorded.
 */
export class Walker {
  /** Asked for, and without a scheduling event so far; in the order of their ids. */
  readonly decisions = new Map<number, Decision>();
  /** The latest OrchestratorStarted: the orchestrator's own idea of now. */
  nowMs = 0;
  /** Set when a continueAsNew action was reached: no further action is started, open tasks still come to their end. */
  continuedAsNew: { readonly input: unknown } | undefined;

  readonly #actions: readonly Action[];
  readonly #labels: readonly number[];
  readonly #pollDelayMs: number;
  readonly #nodes = new Map<number, TaskNode>();
  /** Open tasks by id, or by request id once an entity call or lock was recorded. */
  readonly #open = new Map<string, TaskNode>();
  /** Waits for external events by name, newest last. */
  readonly #waits = new Map<string, TaskNode[]>();
  /** Completions that came before their task: an event that was raised early. */
  readonly #early = new Map<string, Settlement[]>();
  readonly #confirmed = new Set<number>();
  #cursor = 0;
  #labelCursor = 0;
  #nextId = 0;
  #current: TaskNode | undefined;
  /** Every top-level task so far, and which of them each id was allotted for. */
  readonly #roots: TaskNode[] = [];
  readonly #rootOfId = new Map<number, TaskNode>();
  #locked: { readonly requestId: string; readonly entities: readonly string[] } | undefined;
  /** How many ids Azure would have given to tasks that were put into a second composite. */
  #azureDrift = 0;

  /**
   * @param labels from `labelActions`, or empty when the live actions could not be seen
   * @param pollDelayMs wait between polls of an HTTP call whose answer names no Retry-After
   */
  constructor(actions: readonly Action[], labels: readonly number[], pollDelayMs: number) {
    this.#actions = actions;
    this.#labels = labels;
    this.#pollDelayMs = pollDelayMs;
  }

  /** Whether the orchestrator waits for a task of its last known action, so that its code has nothing new to say. */
  get isWaiting(): boolean {
    return this.#current?.state === "running";
  }

  /** Ids and request ids of everything that may still complete, external events apart. */
  get openKeys(): ReadonlySet<string> {
    return new Set(this.#open.keys());
  }

  /** Open tasks that keep an execution from completing: everything but events, entity calls and cancelled timers. */
  get blocking(): number {
    let count = 0;
    for (const node of this.#open.values()) if (blocksCompletion(node)) count++;
    return count;
  }

  /** Timer ids that the orchestrator has cancelled and that are still open. */
  get cancelledTimers(): number[] {
    const ids: number[] = [];
    for (const [key, node] of this.#open) {
      if (isTimer(node) && isCancelled(node)) ids.push(Number(key));
    }
    return ids;
  }

  /** Ids of the last top-level task that failed, its tries and timers included; undefined when none failed. */
  get idsOfLastFailure(): ReadonlySet<number> | undefined {
    const root = this.#roots.findLast(hasFailed);
    if (root === undefined) return undefined;
    return new Set([...this.#rootOfId].filter(([, each]) => each === root).map(([id]) => id));
  }

  /** Names of events from outside that nobody has waited for yet. */
  get unclaimedEvents(): string[] {
    return [...this.#early.keys()];
  }

  /** The fewest further completions, all of them successes, after which the orchestrator's code goes on. */
  get completionsToGo(): number {
    return this.#current === undefined ? 0 : completionsToGo(this.#current);
  }

  /** Takes the next event of the history. @throws OrchestratorFault when history and code contradict each other */
  apply(event: HistoryEvent): void {
    switch (event.EventType) {
      case EventType.OrchestratorStarted:
        this.nowMs = Math.max(this.nowMs, Date.parse(event.Timestamp));
        return;
      case EventType.ExecutionStarted:
        this.#advance();
        return;
      case EventType.TaskScheduled:
      case EventType.SubOrchestrationInstanceCreated:
      case EventType.TimerCreated:
      case EventType.EventSent:
        this.#confirm(event);
        return;
      case EventType.TaskCompleted:
      case EventType.SubOrchestrationInstanceCompleted:
        this.#settleByKey(String(event.TaskScheduledId), { ok: true, event });
        this.#advance();
        return;
      case EventType.TaskFailed:
      case EventType.SubOrchestrationInstanceFailed:
        this.#settleByKey(String(event.TaskScheduledId), { ok: false, event });
        this.#advance();
        return;
      case EventType.TimerFired:
        this.#settleByKey(String(event.TimerId), { ok: true, event });
        this.#advance();
        return;
      case EventType.EventRaised:
        this.#settleByKey(event.Name, { ok: true, event });
        this.#advance();
        return;
      case EventType.ExecutionCompleted:
      case EventType.ExecutionTerminated:
      case EventType.OrchestratorCompleted:
      case EventType.GenericEvent:
      case EventType.ExecutionSuspended:
      case EventType.ExecutionResumed:
        return;
    }
  }

  /** @throws OrchestratorFault when the orchestrator waits for something that can never happen */
  assertCanGoOn(): void {
    if (
      this.#current?.state === "running"
        ? canFinish(this.#current)
        : this.#open.size > 0 || this.#waits.size > 0
    )
      return;
    throw new OrchestratorFault(
      "The orchestrator waits for tasks that are all finished already, so it would wait for ever (a Task.all or Task.any " +
        "made only of finished tasks never completes). Use their results directly instead of putting them into a new composite.",
    );
  }

  /** While the current task is finished, starts the next action (tryResumingUserCode). */
  #advance(): void {
    while (this.continuedAsNew === undefined && !this.isWaiting) {
      const action = this.#actions[this.#cursor];
      if (action === undefined) return;
      this.#cursor++;
      this.#start(action);
    }
  }

  #start(action: Action): void {
    switch (action.actionType) {
      case ActionType.ContinueAsNew:
        this.#labelCursor++;
        this.continuedAsNew = { input: action.input };
        return;
      case ActionType.SignalEntity:
      case ActionType.ScheduledSignalEntity:
        this.#labelCursor++;
        this.#decide({ kind: "signal", id: this.#allot(), ...entityMessage(action) });
        return;
      case ActionType.ReleaseEntities: {
        this.#labelCursor++;
        const lock = this.#locked;
        if (lock === undefined)
          throw new OrchestratorFault("The orchestrator released entities that it has not locked.");
        for (const entity of lock.entities) {
          this.#decide({ kind: "unlock", id: this.#allot(), requestId: lock.requestId, entity });
        }
        this.#locked = undefined;
        return;
      }
      case ActionType.LockEntities:
        this.#locked = { requestId: action.lockRequestId, entities: entitiesOf(action.lockSet) };
        break;
      case ActionType.CallActivity:
      case ActionType.CallActivityWithRetry:
      case ActionType.CallSubOrchestrator:
      case ActionType.CallSubOrchestratorWithRetry:
      case ActionType.CreateTimer:
      case ActionType.WaitForExternalEvent:
      case ActionType.CallEntity:
      case ActionType.CallHttp:
      case ActionType.WhenAny:
      case ActionType.WhenAll:
        break;
    }
    const node = this.#construct(action);
    this.#current = node;
    this.#roots.push(node);
    this.#track(node);
  }

  /** Makes the node of a new action, or finds the one of a task that is used again. */
  #construct(action: Action): TaskNode {
    const label = this.#labels[this.#labelCursor] ?? -1 - this.#labelCursor;
    this.#labelCursor++;
    const known = this.#nodes.get(label);
    const children = isComposite(action) ? action.compoundActions.map((child) => this.#construct(child)) : [];
    if (known !== undefined) return known;
    const node = newTaskNode(action, children, this.nowMs);
    this.#nodes.set(label, node);
    return node;
  }

  /** Gives ids to what has none and opens it (trackOpenTask). */
  #track(node: TaskNode): void {
    const { action } = node;
    if (isComposite(action)) {
      for (const child of node.children) this.#track(child);
      return;
    }
    if (action.actionType === ActionType.WaitForExternalEvent) {
      const name = action.externalEventName;
      this.#waits.set(name, [...(this.#waits.get(name) ?? []), node]);
      this.#settleEarly(name);
      return;
    }
    if (node.id !== undefined) {
      this.#azureDrift++; // Azure's host would schedule it again and count on.
      return;
    }
    node.firstTriedAt = this.nowMs;
    if (node.role === "timer") this.#armTimer(node);
    else this.#openNext(node, this.#firstDecision(action));
  }

  #firstDecision(action: Action): (id: number) => Decision {
    switch (action.actionType) {
      case ActionType.CallActivity:
      case ActionType.CallActivityWithRetry:
        return (id) => ({
          kind: "activity",
          id,
          name: action.functionName,
          input: activityInput(action.input),
        });
      case ActionType.CallSubOrchestrator:
      case ActionType.CallSubOrchestratorWithRetry:
        return (id) => ({
          kind: "sub",
          id,
          name: action.functionName,
          instanceId: action.instanceId ?? undefined,
          input: jsonOrNull(action.input),
          version: action.version ?? undefined,
        });
      case ActionType.CreateTimer:
        return (id) => ({ kind: "timer", id, fireAt: action.fireAt });
      case ActionType.CallHttp:
        return (id) => ({ kind: "http", id, request: action.httpRequest, notBefore: 0 });
      case ActionType.CallEntity:
        return (id) => ({ kind: "call", id, ...entityMessage(action) });
      case ActionType.LockEntities:
        return (id) => ({
          kind: "lock",
          id,
          requestId: action.lockRequestId,
          entities: entitiesOf(action.lockSet),
        });
      case ActionType.ContinueAsNew:
      case ActionType.WaitForExternalEvent:
      case ActionType.SignalEntity:
      case ActionType.ScheduledSignalEntity:
      case ActionType.WhenAny:
      case ActionType.WhenAll:
      case ActionType.ReleaseEntities:
        throw new OrchestratorFault(
          `The orchestrator used action type ${action.actionType} where a task is expected.`,
        );
    }
  }

  /** Allots the next id to a task, decides it and opens it. */
  #openNext(node: TaskNode, decision: (id: number) => Decision): void {
    const id = this.#allot();
    node.id = id;
    this.#rootOfId.set(id, rootOf(node));
    this.#decide(decision(id));
    this.#open.set(String(id), node);
    this.#settleEarly(String(id));
  }

  #settleEarly(key: string): void {
    const queue = this.#early.get(key);
    const first = queue?.shift();
    if (queue?.length === 0) this.#early.delete(key);
    if (first !== undefined) this.#settleByKey(key, first);
  }

  #armTimer(node: TaskNode): void {
    const { action } = node;
    if (action.actionType !== ActionType.CreateTimer) return;
    const leftMs = action.fireAt - this.nowMs;
    const fireAt = leftMs > LONGEST_TIMER_MS ? this.nowMs + TIMER_STEP_MS : action.fireAt;
    this.#openNext(node, (id) => ({ kind: "timer", id, fireAt }));
  }

  #allot(): number {
    if (this.#azureDrift > 0) {
      throw new OrchestratorFault(
        "A task that was already scheduled was put into another Task.any or Task.all, and the orchestrator then scheduled new " +
          "work. Azure schedules such a task again, its task ids run ahead and results reach the wrong tasks (durable-js issue " +
          "574). Give every composite its own tasks, or use sub-orchestrations.",
      );
    }
    return this.#nextId++;
  }

  #decide(decision: Decision): void {
    if (!this.#confirmed.has(decision.id)) this.decisions.set(decision.id, decision);
  }

  /** History says that a task was scheduled; the code must have asked for the same. */
  #confirm(event: HistoryEvent): void {
    const id = event.EventId;
    const decision = this.decisions.get(id);
    const was = `history has ${describe(event)} with task id ${id}`;
    const why =
      "Was the orchestrator's code changed while this instance ran, or does it use the time, random numbers or the environment?";
    if (decision === undefined) {
      throw new OrchestratorFault(
        `Non-deterministic orchestrator: ${was}, but the code has not asked for it. ${why}`,
      );
    }
    const expected = scheduledAs(decision);
    const name = "Name" in event && expected.name !== undefined ? event.Name : undefined;
    if (event.EventType !== expected.eventType || name?.toLowerCase() !== expected.name?.toLowerCase()) {
      throw new OrchestratorFault(
        `Non-deterministic orchestrator: ${was}, but the code asked for ${decision.kind} "${expected.name ?? ""}" there. ${why}`,
      );
    }
    this.decisions.delete(id);
    this.#confirmed.add(id);
    if (event.EventType === EventType.EventSent) {
      const node = this.#open.get(String(id));
      if (node !== undefined && isEntityRequest(node.action)) {
        this.#open.delete(String(id));
        this.#open.set(requestIdOf(event.Input), node);
      }
    }
  }

  /** Finds the task that a completion is for (setTaskValue): by id, else the newest wait of that name, else keeps it. */
  #settleByKey(key: string, settlement: Settlement): void {
    const open = this.#open.get(key);
    if (open !== undefined) {
      this.#open.delete(key);
      this.#settlePart(open, settlement);
      return;
    }
    const waits = this.#waits.get(key);
    const newest = waits?.pop();
    if (waits?.length === 0) this.#waits.delete(key);
    if (newest !== undefined) {
      this.#settle(newest, true);
      return;
    }
    this.#early.set(key, [...(this.#early.get(key) ?? []), settlement]);
  }

  /** A part of a task came to its end: the whole task for most, one try or one step for those that go on. */
  #settlePart(node: TaskNode, settlement: Settlement): void {
    switch (node.role) {
      case "atomic":
        this.#settle(node, settlement.ok && !isEntityError(node, settlement.event));
        return;
      case "retry":
        this.#settleTry(node, settlement);
        return;
      case "poll":
        this.#settlePoll(node, settlement);
        return;
      case "timer":
        if (node.action.actionType === ActionType.CreateTimer && node.action.fireAt > this.nowMs)
          this.#armTimer(node);
        else this.#settle(node, true);
        return;
      case "compound":
        return;
    }
  }

  #settle(node: TaskNode, ok: boolean): void {
    node.state = ok ? "completed" : "failed";
    const { parent } = node;
    if (parent === undefined) return;
    if (parent.action.actionType === ActionType.WhenAny) {
      if (parent.state === "running") this.#settle(parent, true);
    } else if (!ok) {
      if (parent.state === "running") this.#settle(parent, false);
    } else {
      parent.unfinished.delete(node);
      if (parent.unfinished.size === 0) this.#settle(parent, true);
    }
  }

  /** RetryableTask: after every failed try a timer, also after the last; then the next try, or the error. */
  #settleTry(node: TaskNode, { ok, event }: Settlement): void {
    const { action } = node;
    if (
      action.actionType !== ActionType.CallActivityWithRetry &&
      action.actionType !== ActionType.CallSubOrchestratorWithRetry
    )
      return;
    const { retryOptions } = action;
    const isExpired = isRetryTimeOver(retryOptions, node.firstTriedAt, this.nowMs);
    if (node.isBackingOff) {
      node.isBackingOff = false;
      if (node.attempt > retryOptions.maxNumberOfAttempts) {
        this.#settle(node, false);
      } else if (isExpired && node.lastFailure !== undefined) {
        const { lastFailure: failure } = node;
        const of = action.actionType === ActionType.CallActivityWithRetry ? "activity" : "sub";
        this.#openNext(node, (id) => ({ kind: "expired", id, of, name: action.functionName, failure }));
      } else {
        this.#openNext(node, this.#firstDecision(action));
      }
    } else if (ok) {
      this.#settle(node, true);
    } else {
      const fireAt = this.nowMs + (isExpired ? 0 : backOffMs(retryOptions, node.attempt));
      node.lastFailure = failureOf(event);
      node.isBackingOff = true;
      node.attempt++;
      this.#openNext(node, (id) => ({ kind: "timer", id, fireAt }));
    }
  }

  /** CallHttpWithPollingTask: on 202 with a Location, the timer's id and the next call's id are allotted at once. */
  #settlePoll(node: TaskNode, { ok, event }: Settlement): void {
    if (!ok || node.action.actionType !== ActionType.CallHttp) {
      // A timer of an earlier poll never fails; a failed call fails the task.
      this.#settle(node, false);
      return;
    }
    if (event.EventType === EventType.TimerFired) return;
    const answer = parseHttpAnswer(event);
    const location = answer.headers["location"];
    if (answer.statusCode !== 202 || location === undefined) {
      this.#settle(node, true);
      return;
    }
    const retryAfter = Number(answer.headers["retry-after"] ?? Number.NaN);
    const fireAt = this.nowMs + (Number.isFinite(retryAfter) ? retryAfter * 1000 : this.#pollDelayMs);
    const request = pollRequest(node.action.httpRequest, location);
    this.#openNext(node, (id) => ({ kind: "timer", id, fireAt }));
    this.#openNext(node, (id) => ({ kind: "http", id, request, notBefore: fireAt }));
  }
}

function entitiesOf(lockSet: readonly { readonly name: string; readonly key: string }[]): string[] {
  return lockSet.map(({ name, key }) => `@${name.toLowerCase()}@${key}`);
}

function entityMessage(action: Extract<Action, { actionType: 7 | 9 | 10 }>): {
  readonly entity: string;
  readonly operation: string;
  readonly input: string | null;
  readonly notBefore: number;
} {
  return {
    entity: action.instanceId,
    operation: action.operation,
    input: jsonOrNull(action.input),
    notBefore: action.actionType === ActionType.ScheduledSignalEntity ? action.fireAt : 0,
  };
}

function jsonOrNull(value: unknown): string | null {
  return toJson(value) ?? null;
}

function failureOf(event: HistoryEvent): Failure {
  if (
    event.EventType !== EventType.TaskFailed &&
    event.EventType !== EventType.SubOrchestrationInstanceFailed
  ) {
    return { reason: "failed", details: "" };
  }
  return { reason: event.Reason, details: event.Details, failureDetails: event.FailureDetails };
}

function isEntityError(node: TaskNode, event: HistoryEvent): boolean {
  if (node.action.actionType !== ActionType.CallEntity || event.EventType !== EventType.EventRaised)
    return false;
  const answer: unknown = event.Input === null ? undefined : JSON.parse(event.Input);
  return (
    typeof answer === "object" &&
    answer !== null &&
    typeof (answer as { exceptionType?: unknown }).exceptionType === "string"
  );
}

function requestIdOf(input: string): string {
  const { id } = JSON.parse(input) as { id?: unknown };
  return String(id);
}

function describe(event: HistoryEvent): string {
  const kind = Object.entries(EventType).find(([, number]) => number === event.EventType)?.[0] ?? "an event";
  return "Name" in event ? `${kind} "${event.Name}"` : kind;
}
