import { randomUUID } from "node:crypto";
import { typedDataToJson } from "../core/invoke.ts";
import { failureEvent } from "./effects.ts";
import type { EngineContext } from "./engine-context.ts";
import { EventType, historyEvent, type Failure, type HistoryEvent } from "./events.ts";
import { activityFailure } from "./failures.ts";
import { sendHttpRequest } from "./http-call.ts";
import { isFinished, type WorkRow } from "./store.ts";

const RETRY_MS = 1000;

interface Done {
  readonly work: WorkRow;
  readonly event: HistoryEvent;
}

/**
 * Runs activities and HTTP calls, at least once each.
 *
 * Work is claimed and results are committed together, once per turn of the event loop, so that many short activities
 * share one disk flush. A claim (a lease that ends with the process that owns the database) is taken over at the next
 * start; a result that is committed is never produced again.
 */
export class Activities {
  readonly #engine: EngineContext;
  readonly #running = new Set<number>();
  #done: Done[] = [];
  #leave: (() => void) | undefined;
  #isStopped = false;
  #isDetached = false;

  constructor(engine: EngineContext) {
    this.#engine = engine;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  /** Looks for work soon. */
  wake(): void {
    if (this.#leave !== undefined || this.#isDetached) return;
    this.#leave = this.#engine.busy.enter();
    setImmediate(() => {
      const leave = this.#leave;
      this.#leave = undefined;
      if (!this.#isDetached) this.#turnOrRetry();
      leave?.();
    });
  }

  /** Starts nothing more. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Gives back claims of work that was not finished, at a clean end. What such work gives later is dropped. */
  releaseClaims(): void {
    this.#turn();
    this.#isDetached = true;
    this.#engine.db.run("UPDATE work SET leased_at = 0, attempts = attempts - 1 WHERE leased_at > 0");
  }

  /** A commit that fails (a full disk) keeps the results, to be committed a little later. */
  #turnOrRetry(): void {
    try {
      this.#turn();
    } catch (error) {
      this.#engine.log({
        level: "error",
        category: "host",
        message: `Results of activities can't be committed, which is tried again soon: ${String(error)}`,
      });
      setTimeout(() => {
        this.wake();
      }, RETRY_MS).unref();
    }
  }

  #turn(): void {
    const { db, store, settings, clock, wake } = this.#engine;
    const done = this.#done;
    const nowMs = clock.now();
    const free = this.#isStopped ? 0 : settings.maxConcurrentActivityFunctions - this.#running.size;
    const claimed = db.transaction(() => {
      for (const { work, event } of done) {
        db.run("DELETE FROM work WHERE seq = ?", work.seq);
        const instance = store.get(work.instance);
        if (instance === undefined || instance.execution !== work.execution || isFinished(instance.status))
          continue;
        store.send(work.instance, work.execution, nowMs, event);
      }
      return free > 0 ? this.#claim(free, nowMs) : [];
    });
    this.#done = [];
    for (const instance of new Set(done.map(({ work }) => work.instance))) wake.instance(instance);
    for (const work of claimed) void this.#run(work);
  }

  #claim(limit: number, nowMs: number): WorkRow[] {
    const { db } = this.#engine;
    const rows = db.all<WorkRow>(
      "SELECT seq, kind, instance, execution, task, name, input, attempts FROM work INDEXED BY work_in_order WHERE leased_at = 0 AND not_before <= ? ORDER BY seq LIMIT ?",
      nowMs,
      limit,
    );
    for (const { seq } of rows) {
      db.run("UPDATE work SET leased_at = ?, attempts = attempts + 1 WHERE seq = ?", Math.max(nowMs, 1), seq);
    }
    return rows;
  }

  async #run(work: WorkRow): Promise<void> {
    const leave = this.#engine.busy.enter();
    this.#running.add(work.seq);
    const event = await this.#perform(work);
    this.#running.delete(work.seq);
    this.#done.push({ work, event });
    this.wake();
    leave();
  }

  async #perform(work: WorkRow): Promise<HistoryEvent> {
    const { clock, maxDeliveries, store, log } = this.#engine;
    if (work.attempts >= maxDeliveries) {
      const reason = `The process ended ${work.attempts} times while it ran activity '${work.name}' of '${work.instance}'; it is not started again.`;
      store.park(work.kind, `${work.instance}/${work.task}`, work.name, reason, work.input, clock.now());
      log({ level: "error", category: "host", message: reason });
      return failureEvent("activity", work.task, { reason, details: reason }, clock.now());
    }
    try {
      const result =
        work.kind === "http" ? await sendHttpRequest(work.input ?? "{}") : await this.#callActivity(work);
      return historyEvent(
        { EventType: EventType.TaskCompleted, TaskScheduledId: work.task, Result: result },
        clock.now(),
      );
    } catch (error) {
      const failure: Failure = activityFailure(work.name, error);
      log({
        level: "error",
        category: "host",
        message: `${failure.reason} (instance '${work.instance}', task ${work.task})`,
      });
      return failureEvent("activity", work.task, failure, clock.now());
    }
  }

  async #callActivity(work: WorkRow): Promise<string> {
    const { registry, caller } = this.#engine;
    const fn = registry.find(work.name, "activitytrigger");
    if (fn === undefined) {
      throw new Error(
        `The function '${work.name}' doesn't exist, is disabled, or is not an activity function.`,
      );
    }
    const data = work.input === null ? null : { string: work.input };
    const sys = {
      MethodName: work.name,
      UtcNow: new Date(this.#engine.clock.now()).toISOString(),
      RandGuid: randomUUID(),
    };
    const triggerMetadata = {
      instanceId: { string: work.instance },
      data: data ?? { json: "null" },
      [fn.triggerName]: data ?? { json: "null" },
      sys: { json: JSON.stringify(sys) },
    };
    const { response } = await caller.call(fn, data, { triggerMetadata });
    return typedDataToJson(response.returnValue);
  }
}
