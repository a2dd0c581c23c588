import { continueAsNew, finish, terminate } from "./endings.ts";
import { carryOut, type Wakes } from "./effects.ts";
import type { EngineContext } from "./engine-context.ts";
import { assertSameIds, feed, isControl, sortMessages, type Message, type Sorted } from "./episode.ts";
import { EventType, historyEvent, type HistoryEvent } from "./events.ts";
import { Gathering } from "./gathering.ts";
import { Lanes } from "./lanes.ts";
import { callOrchestrator, type OrchestratorAnswer } from "./orchestrator-call.ts";
import { OrchestratorFault } from "./orchestrator-fault.ts";
import { SessionCache, type Session } from "./sessions.ts";
import { isFinished, type InstanceRow } from "./store.ts";
import { matchesVersion } from "./versions.ts";
import { Walker } from "./walker.ts";

/** Most messages that one episode takes. */
const EPISODE_LIMIT = 10_000;

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
  readonly #gathering: Gathering;
  /** Instances that had work when a former process died; their episodes are counted until one succeeds. */
  readonly #suspects = new Set<string>();
  readonly #rejected = new Set<string>();

  constructor(engine: EngineContext) {
    this.#engine = engine;
    this.#gathering = new Gathering(engine.busy, (id) => {
      this.#lanes.wake(id);
    });
    this.#lanes = new Lanes({
      run: (id) => this.#run(id),
      onError: (id, error) => {
        this.#sessions.delete(id);
        engine.log({
          level: "error",
          category: "host",
          message: `The episode of orchestration '${id}' was given up and is tried again soon: ${String(error)}`,
        });
      },
      width: engine.settings.maxConcurrentOrchestratorFunctions,
      busy: engine.busy,
    });
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
    this.#gathering.endAll();
  }

  async #run(id: string): Promise<void> {
    const { store, clock, db, settings } = this.#engine;
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
    const sorted = sortMessages(row, due);
    if (sorted.terminated !== undefined) {
      this.#gathering.end(id);
      this.#sessions.delete(id);
      terminate(this.#engine, row, due, sorted.terminated, nowMs);
      return;
    }
    if (!matchesVersion(row.version, settings) && settings.versionFailureStrategy === "Reject") {
      this.#noteRejected(row);
      return;
    }
    if (sorted.accepted.length === 0) {
      db.transaction(() => {
        store.take(sorted.dropped.map((message) => message.row));
      });
      return;
    }
    const { walker } = this.#sessions.get(id, row.execution) ?? {};
    const events = sorted.accepted.map(({ event }) => event);
    if (this.#gathering.defers(id, walker, events)) return;
    await this.#episode(row, sorted, nowMs);
  }

  #noteRejected(row: InstanceRow): void {
    const { settings, log } = this.#engine;
    if (this.#rejected.has(row.id)) return;
    this.#rejected.add(row.id);
    log({
      level: "warning",
      category: "host",
      message: `Orchestration '${row.id}' of version '${row.version}' is left alone: this host runs '${settings.defaultVersion ?? ""}'.`,
    });
  }

  async #episode(row: InstanceRow, sorted: Sorted, nowMs: number): Promise<void> {
    const { store, db } = this.#engine;
    const session = this.#sessions.get(row.id, row.execution) ?? {
      execution: row.execution,
      lines: store.history(row.id),
      walker: undefined,
      ending: undefined,
    };
    const started = historyEvent(
      { EventType: EventType.OrchestratorStarted },
      Math.max(nowMs, session.walker?.nowMs ?? 0),
    );
    const { taken, answer } = await this.#advance(row, session, started, sorted.accepted);
    const { walker, ending } = session;
    const customStatus = answer?.customStatus ?? row.custom_status;
    const wakes: Wakes = [];
    db.transaction(() => {
      const events: HistoryEvent[] = [started, ...taken.map(({ event }) => event)];
      for (const decision of walker?.decisions.values() ?? []) {
        events.push(carryOut(this.#engine, row, decision, nowMs, wakes));
      }
      // Only the code cancels timers, so only its answers can bring new ones.
      for (const timer of answer === undefined ? [] : (walker?.cancelledTimers ?? [])) {
        store.cancelTimer(row.id, row.execution, timer);
      }
      store.take([...taken, ...sorted.dropped].map((message) => message.row));
      const over = (walker?.blocking ?? 0) === 0 ? ending : undefined;
      if (over?.kind === "continued") {
        continueAsNew(this.#engine, row, walker, customStatus, nowMs, wakes);
        return;
      }
      if (over === undefined) {
        const status = sorted.isSuspended ? "Suspended" : "Running";
        store.update(row.id, { status, output: null, custom_status: customStatus, updated: nowMs });
      } else {
        events.push(finish(this.#engine, row, over, customStatus, nowMs, wakes));
      }
      events.push(historyEvent({ EventType: EventType.OrchestratorCompleted }, nowMs));
      const lines = events.map((event) => JSON.stringify(event));
      store.append(row.id, session.lines.length, lines);
      for (const event of events) if (event.EventId >= 0) walker?.apply(event);
      session.lines.push(...lines);
    });
    this.#suspects.delete(row.id);
    const isLive = ending === undefined || (walker !== undefined && walker.blocking > 0);
    if (isLive) this.#sessions.set(row.id, session);
    else this.#sessions.delete(row.id);
    for (const wake of wakes) wake();
  }

  /**
   * Brings a session's walker up to the new events, with the orchestrator's code where it may have something new to say.
   * @returns the messages that were processed, and the code's answer if it was asked
   */
  async #advance(
    row: InstanceRow,
    session: Session,
    started: HistoryEvent,
    messages: readonly Message[],
  ): Promise<{ readonly taken: readonly Message[]; readonly answer: OrchestratorAnswer | undefined }> {
    const { settings } = this.#engine;
    let taken = messages;
    try {
      if (!matchesVersion(row.version, settings)) {
        throw new OrchestratorFault(
          `The instance has version '${row.version}', this host runs '${settings.defaultVersion ?? ""}' (versionFailureStrategy Fail).`,
        );
      }
      if (session.walker !== undefined) taken = feed(session.walker, [], started, messages);
      const isUnchanged =
        session.walker !== undefined && (session.ending !== undefined || session.walker.isWaiting);
      if (isUnchanged || messages.every(({ event }) => isControl(event))) return { taken, answer: undefined };
      const answer = await this.#callCode(row, session, started, messages);
      const walker = new Walker(
        answer.actions,
        answer.labels,
        settings.httpSettings.defaultAsyncRequestSleepTimeMilliseconds,
      );
      taken = feed(walker, session.lines, started, messages);
      session.walker = walker;
      session.ending = answer.ending;
      if (walker.decisions.size > settings.maxOrchestrationActions) {
        throw new OrchestratorFault(
          `The orchestrator asked for ${walker.decisions.size} tasks at once; maxOrchestrationActions of host.json allows ${settings.maxOrchestrationActions}.`,
        );
      }
      if (answer.ending === undefined) {
        walker.assertCanGoOn();
        assertSameIds(walker, answer.openKeys);
      }
      return { taken, answer };
    } catch (error) {
      if (!(error instanceof OrchestratorFault)) throw error;
      session.walker = undefined;
      session.ending = { kind: "failed", error: error.message };
      return { taken: messages, answer: undefined };
    }
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
}
