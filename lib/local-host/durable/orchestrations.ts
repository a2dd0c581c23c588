import { randomUUID } from "node:crypto";
import { activityInput } from "./decisions.ts";
import { carryOut, failureEvent, type Wakes } from "./effects.ts";
import type { EngineContext } from "./engine-context.ts";
import { sendToEntity } from "./entity-messages.ts";
import { EventType, historyEvent, type Failure, type HistoryEvent } from "./events.ts";
import { Lanes } from "./lanes.ts";
import { callOrchestrator, type Ending, type OrchestratorAnswer } from "./orchestrator-call.ts";
import { SessionCache, type Session } from "./sessions.ts";
import { isFinished, type InboxRow, type InstanceRow, type RuntimeStatus } from "./store.ts";
import { matchesVersion } from "./versions.ts";
import { OrchestratorFault, Walker } from "./walker.ts";

/** Most messages that one episode takes. */
const EPISODE_LIMIT = 10_000;
/** How long completions that can't move the orchestrator's code are gathered into one episode. */
const GATHER_MS = 50;
const GATHER_LIMIT = 500;

interface Message {
  readonly row: InboxRow;
  readonly event: HistoryEvent;
}

/**
 * Runs orchestrations, one episode after another: takes the due messages of an instance, lets the orchestrator's code
 * react to the history with them, and commits the new history, what was asked for, and the messages' removal in one
 * transaction. A process that dies anywhere leaves the episode either done or not begun.
 *
 * The code is only run when it can have something new to say: while a walker of the same history waits for a task that
 * is still open, completions (and the retries that follow from them) are recorded without it.
 */
export class Orchestrations {
  readonly #engine: EngineContext;
  readonly #lanes: Lanes;
  readonly #sessions = new SessionCache();
  readonly #gathering = new Map<
    string,
    { readonly timer: NodeJS.Timeout; readonly leave: () => void } | "over"
  >();
  /** Instances that had work when a former process died; their episodes are counted until one succeeds. */
  readonly #suspects = new Set<string>();
  readonly #rejected = new Set<string>();

  constructor(engine: EngineContext) {
    this.#engine = engine;
    const width = engine.settings.maxConcurrentOrchestratorFunctions;
    this.#lanes = new Lanes((id) => this.#runSafely(id), width, engine.busy);
  }

  wake(id: string): void {
    this.#lanes.wake(id);
  }

  suspect(id: string): void {
    this.#suspects.add(id);
  }

  /** Forgets what is kept in memory about an instance whose records were changed from outside. */
  forget(id: string): void {
    this.#sessions.delete(id);
  }

  stop(): void {
    this.#lanes.stop();
    for (const id of [...this.#gathering.keys()]) this.#endGathering(id);
  }

  async #runSafely(id: string): Promise<void> {
    try {
      await this.#run(id);
    } catch (error) {
      this.#sessions.delete(id);
      this.#engine.log({
        level: "error",
        category: "host",
        message: `The episode of orchestration '${id}' was given up and is tried again with its next message: ${String(error)}`,
      });
    }
  }

  async #run(id: string): Promise<void> {
    const { store, clock, db, settings, log } = this.#engine;
    const row = store.get(id);
    const nowMs = clock.now();
    const due = store.due(id, nowMs, EPISODE_LIMIT);
    if (due.length === 0) return;
    if (row === undefined || isFinished(row.status)) {
      db.transaction(() => {
        store.take(due);
      });
      return;
    }
    if (!matchesVersion(row.version, settings) && settings.versionFailureStrategy === "Reject") {
      if (!this.#rejected.has(id)) {
        log({
          level: "warning",
          category: "host",
          message: `Orchestration '${id}' of version '${row.version}' is left alone: this host runs '${settings.defaultVersion ?? ""}'.`,
        });
      }
      this.#rejected.add(id);
      return;
    }
    const messages = due.map((each): Message => ({
      row: each,
      event: JSON.parse(each.event) as HistoryEvent,
    }));
    const current = messages.filter(
      ({ row: { execution } }) => execution === null || execution === row.execution,
    );
    const terminated = current.find(({ event }) => event.EventType === EventType.ExecutionTerminated);
    if (terminated !== undefined) {
      this.#terminate(row, due, terminated.event, nowMs);
      return;
    }
    const isSuspended = wantsSuspension(row, current);
    // Completions of a suspended instance wait in the inbox until it is resumed.
    const accepted = isSuspended ? current.filter(({ event }) => isControl(event)) : current;
    const dropped = messages.filter((message) => !current.includes(message));
    if (accepted.length === 0) {
      if (dropped.length > 0) {
        db.transaction(() => {
          store.take(dropped.map((message) => message.row));
        });
      }
      return;
    }
    if (this.#gather(row, accepted)) return;
    await this.#episode(row, accepted, dropped, isSuspended ? "Suspended" : "Running", nowMs);
  }

  /** Puts off an episode whose completions, successes all, are too few to move the orchestrator's code. */
  #gather(row: InstanceRow, accepted: readonly Message[]): boolean {
    const { id } = row;
    const waiting = this.#gathering.get(id);
    const walker = this.#sessions.get(id, row.execution)?.walker;
    const canMove =
      walker === undefined ||
      accepted.length >= Math.min(walker.completionsToGo, GATHER_LIMIT) ||
      !accepted.every(({ event }) => isSuccess(event));
    if (canMove || waiting === "over") {
      this.#endGathering(id);
      return false;
    }
    if (waiting !== undefined) return true;
    const leave = this.#engine.busy.enter();
    const timer = setTimeout(() => {
      this.#gathering.set(id, "over");
      this.#lanes.wake(id);
      leave();
    }, GATHER_MS);
    this.#gathering.set(id, { timer, leave });
    return true;
  }

  #endGathering(id: string): void {
    const waiting = this.#gathering.get(id);
    this.#gathering.delete(id);
    if (waiting === undefined || waiting === "over") return;
    clearTimeout(waiting.timer);
    waiting.leave();
  }

  async #episode(
    row: InstanceRow,
    accepted: readonly Message[],
    dropped: readonly Message[],
    status: RuntimeStatus,
    nowMs: number,
  ): Promise<void> {
    const { store, db, settings } = this.#engine;
    const session = this.#sessions.get(row.id, row.execution) ?? {
      execution: row.execution,
      lines: store.history(row.id),
      walker: undefined,
      ending: undefined,
    };
    const ordered = [...accepted].sort((a, b) => rank(a.event) - rank(b.event));
    const started = historyEvent(
      { EventType: EventType.OrchestratorStarted },
      Math.max(nowMs, session.walker?.nowMs ?? 0),
    );
    let taken: readonly Message[] = ordered;
    let customStatus = row.custom_status;
    let timersToCancel: readonly number[] = [];
    try {
      if (!matchesVersion(row.version, settings)) {
        throw new OrchestratorFault(
          `The instance has version '${row.version}', this host runs '${settings.defaultVersion ?? ""}' (versionFailureStrategy Fail).`,
        );
      }
      if (session.walker !== undefined) taken = feed(session.walker, [], started, ordered);
      const needsCode =
        session.walker === undefined || (session.ending === undefined && !session.walker.isWaiting);
      if (needsCode && !accepted.every(({ event }) => isControl(event))) {
        const answer = await this.#callCode(row, session, started, ordered);
        const walker = new Walker(
          answer.actions,
          answer.labels,
          settings.httpSettings.defaultAsyncRequestSleepTimeMilliseconds,
        );
        taken = feed(walker, session.lines, started, ordered);
        session.walker = walker;
        session.ending = answer.ending;
        customStatus = answer.customStatus ?? customStatus;
        timersToCancel = walker.cancelledTimers;
        if (walker.decisions.size > settings.maxOrchestrationActions) {
          throw new OrchestratorFault(
            `The orchestrator asked for ${walker.decisions.size} tasks at once; maxOrchestrationActions of host.json allows ${settings.maxOrchestrationActions}.`,
          );
        }
        if (answer.ending === undefined) {
          walker.assertCanGoOn();
          assertSameIds(walker, answer.openKeys);
        }
      }
    } catch (error) {
      if (!(error instanceof OrchestratorFault)) throw error;
      session.walker = undefined;
      session.ending = { kind: "failed", error: error.message };
      taken = ordered;
    }
    const { walker, ending } = session;
    const wakes: Wakes = [];
    db.transaction(() => {
      const events: HistoryEvent[] = [started, ...taken.map(({ event }) => event)];
      for (const decision of walker?.decisions.values() ?? []) {
        events.push(carryOut(this.#engine, row, decision, nowMs, wakes));
      }
      for (const timer of timersToCancel) store.cancelTimer(row.id, row.execution, timer);
      store.take([...taken, ...dropped].map((message) => message.row));
      const over = (walker?.blocking ?? 0) === 0 ? ending : undefined;
      if (over?.kind === "continued") {
        this.#continueAsNew(row, walker, customStatus, nowMs, wakes);
        return;
      }
      const final = over === undefined ? undefined : this.#finish(row, over, customStatus, nowMs, wakes);
      if (final !== undefined) events.push(final);
      events.push(historyEvent({ EventType: EventType.OrchestratorCompleted }, nowMs));
      const lines = events.map((event) => JSON.stringify(event));
      store.append(row.id, session.lines.length, lines);
      if (final === undefined)
        store.update(row.id, { status, output: null, custom_status: customStatus, updated: nowMs });
      for (const event of events) if (event.EventId >= 0) walker?.apply(event);
      session.lines.push(...lines);
    });
    this.#suspects.delete(row.id);
    const isLive = ending === undefined || (walker !== undefined && walker.blocking > 0);
    if (isLive) this.#sessions.set(row.id, session);
    else this.#sessions.delete(row.id);
    for (const wake of wakes) wake();
  }

  async #callCode(
    row: InstanceRow,
    session: Session,
    started: HistoryEvent,
    messages: readonly Message[],
  ): Promise<OrchestratorAnswer> {
    const { registry, store, maxDeliveries } = this.#engine;
    const fn = registry.find(row.name, "orchestrationtrigger");
    if (fn === undefined) {
      throw new OrchestratorFault(
        `The app has no orchestrator function '${row.name}'. Deploy it again and rewind the instance, or purge it.`,
      );
    }
    if (this.#suspects.has(row.id)) {
      if (row.attempts >= maxDeliveries) {
        const reason = `The process ended ${row.attempts} times while it ran this orchestrator.`;
        store.park("orchestration", row.id, row.name, reason, null, this.#engine.clock.now());
        throw new OrchestratorFault(`${reason} It is parked: find out why, then rewind the instance.`);
      }
      store.countAttempt(row.id);
    }
    const fresh = [started, ...messages.map(({ event }) => event)].map((event) => JSON.stringify(event));
    return callOrchestrator(this.#engine, fn, row, [...session.lines, ...fresh]);
  }

  /** @returns the last line of the history */
  #finish(
    row: InstanceRow,
    ending: Exclude<Ending, { kind: "continued" }>,
    customStatus: string | null,
    nowMs: number,
    wakes: Wakes,
  ): HistoryEvent {
    const { store } = this.#engine;
    const isOk = ending.kind === "completed";
    const reason = isOk ? "" : `Orchestrator function '${row.name}' failed: ${ending.error}`;
    const output = isOk ? ending.output : JSON.stringify(reason);
    const status = isOk ? "Completed" : "Failed";
    store.update(row.id, { status, output, custom_status: customStatus, updated: nowMs });
    const failure = isOk
      ? undefined
      : { reason, details: `Message: ${ending.error}, StackTrace: `, failureDetails: ending.failureDetails };
    this.#afterEnd(row, isOk ? (ending.output ?? "null") : undefined, failure, nowMs, wakes);
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

  #terminate(row: InstanceRow, due: readonly InboxRow[], event: HistoryEvent, nowMs: number): void {
    const { store, db } = this.#engine;
    const wakes: Wakes = [];
    this.#endGathering(row.id);
    this.#sessions.delete(row.id);
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
      this.#afterEnd(row, undefined, { reason, details: reason, failureDetails: undefined }, nowMs, wakes);
    });
    for (const wake of wakes) wake();
  }

  /** Tells the parent, gives back locks that are still held, and drops what the execution had under way. */
  #afterEnd(
    row: InstanceRow,
    result: string | undefined,
    failure: Failure | undefined,
    nowMs: number,
    wakes: Wakes,
  ): void {
    const { store, wake } = this.#engine;
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
    this.#releaseLocks(row, nowMs, wakes);
    store.dropPending(row.id);
  }

  #releaseLocks(row: InstanceRow, nowMs: number, wakes: Wakes): void {
    const held = this.#engine.db.all<{ id: string; locked_by: string }>(
      "SELECT id, locked_by FROM entities WHERE locked_for = ?",
      row.id,
    );
    for (const { id, locked_by: lock } of held) {
      wakes.push(sendToEntity(this.#engine, id, { kind: "release", id: lock, parent: row.id }, nowMs, nowMs));
    }
  }

  #continueAsNew(
    row: InstanceRow,
    walker: Walker | undefined,
    customStatus: string | null,
    nowMs: number,
    wakes: Wakes,
  ): void {
    const { store, wake, log } = this.#engine;
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
    this.#releaseLocks(row, nowMs, wakes);
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
}

function isControl(event: HistoryEvent): boolean {
  return event.EventType === EventType.ExecutionSuspended || event.EventType === EventType.ExecutionResumed;
}

function isSuccess(event: HistoryEvent): boolean {
  return (
    event.EventType === EventType.TaskCompleted ||
    event.EventType === EventType.SubOrchestrationInstanceCompleted
  );
}

/** The start comes first, whatever was sent before it. */
function rank(event: HistoryEvent): number {
  return event.EventType === EventType.ExecutionStarted ? 0 : 1;
}

/** Whether the instance is suspended once these messages are taken: the last word counts. */
function wantsSuspension(row: InstanceRow, messages: readonly Message[]): boolean {
  const last = messages.findLast(({ event }) => isControl(event));
  return last === undefined
    ? row.status === "Suspended"
    : last.event.EventType === EventType.ExecutionSuspended;
}

/**
 * Gives a walker the history and the new events.
 * @returns the messages that were processed: events from outside that come after a continue-as-new are left for the next execution
 */
function feed(
  walker: Walker,
  lines: readonly string[],
  started: HistoryEvent,
  messages: readonly Message[],
): Message[] {
  for (const line of lines) walker.apply(JSON.parse(line) as HistoryEvent);
  walker.apply(started);
  const taken: Message[] = [];
  for (const message of messages) {
    if (walker.continuedAsNew !== undefined && message.event.EventType === EventType.EventRaised) continue;
    walker.apply(message.event);
    taken.push(message);
  }
  return taken;
}

function assertSameIds(walker: Walker, sdk: ReadonlySet<string> | undefined): void {
  if (sdk === undefined) return;
  const own = walker.openKeys;
  const differ = [...[...own].filter((key) => !sdk.has(key)), ...[...sdk].filter((key) => !own.has(key))];
  if (differ.length === 0) return;
  throw new OrchestratorFault(
    `The task ids of the orchestrator and of the host have run apart (${differ.slice(0, 5).join(", ")}), so results would reach the wrong tasks, ` +
      "on Azure too. A task that loses a Task.any and is yielded later while other retries are under way does this; give every composite its own tasks.",
  );
}
