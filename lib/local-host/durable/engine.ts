import type { Busy } from "../busy.ts";
import type { DurableTaskSettings } from "../app/host-json.ts";
import type { Clock } from "../clock.ts";
import type { FunctionCaller } from "../core/function-caller.ts";
import type { FunctionRegistry } from "../core/function-registry.ts";
import type { LogSink } from "../log.ts";
import { Activities } from "./activities.ts";
import type { Database } from "./database.ts";
import type { EngineContext } from "./engine-context.ts";
import { Entities } from "./entities.ts";
import { Orchestrations } from "./orchestrations.ts";
import { purgeOlder } from "./purge.ts";
import { InstanceStore } from "./store.ts";

export interface EngineOptions {
  readonly db: Database;
  readonly registry: FunctionRegistry;
  readonly clock: Clock;
  readonly log: LogSink;
  readonly settings: DurableTaskSettings;
  readonly caller: FunctionCaller;
  readonly busy: Busy;
  readonly maxDeliveries: number;
}

/** The durable engine: orchestrations, activities and entities over one database, woken by messages and by the clock. */
export class DurableEngine {
  readonly context: EngineContext;
  readonly orchestrations: Orchestrations;
  readonly #activities: Activities;
  readonly #entities: Entities;
  #withdrawAlarm: (() => void) | undefined;
  #alarmAt = Number.POSITIVE_INFINITY;
  #lastScanMs = 0;
  #isStopped = false;

  constructor(options: EngineOptions) {
    this.context = {
      ...options,
      store: new InstanceStore(options.db),
      wake: {
        instance: (id) => {
          this.orchestrations.wake(id);
        },
        entity: (id) => {
          this.#entities.wake(id);
        },
        work: () => {
          this.#activities.wake();
        },
        timer: () => {
          this.#setAlarm();
        },
      },
    };
    this.orchestrations = new Orchestrations(this.context);
    this.#activities = new Activities(this.context);
    this.#entities = new Entities(this.context);
  }

  /** Takes over what a former process left and begins to work. */
  start(): void {
    const { db, clock } = this.context;
    const abandoned = db.run("UPDATE work SET leased_at = 0 WHERE leased_at > 0");
    const wasCleanEnd = db.get("SELECT 1 FROM meta WHERE key = 'clean'") !== undefined;
    db.run("DELETE FROM meta WHERE key = 'clean'");
    if (abandoned > 0) {
      this.context.log({
        level: "information",
        category: "host",
        message: `Took over ${abandoned} activities that a former host had not finished.`,
      });
    }
    if (!wasCleanEnd) {
      for (const id of this.context.store.instancesDue(-1, clock.now())) this.orchestrations.suspect(id);
      const entities = db.all<{ entity: string }>(
        "SELECT DISTINCT entity FROM entity_inbox WHERE visible_at <= ?",
        clock.now(),
      );
      for (const { entity } of entities) this.#entities.suspect(entity);
    }
    this.#lastScanMs = -1;
    this.#scan();
    this.#activities.wake();
  }

  /** Ends cleanly: starts nothing more, lets what runs finish within the time given, and gives the rest back. */
  async stop(graceMs: number): Promise<void> {
    this.#isStopped = true;
    this.#withdrawAlarm?.();
    this.orchestrations.stop();
    this.#entities.stop();
    this.#activities.stop();
    let timer: NodeJS.Timeout | undefined;
    const grace = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([this.context.busy.whenIdle(), grace]);
    clearTimeout(timer);
    this.#activities.releaseClaims();
    this.context.db.run("INSERT OR REPLACE INTO meta (key, value) VALUES ('clean', '1')");
  }

  /** Removes finished instances that were last touched before an instant. @returns how many */
  purgeFinishedBefore(instantMs: number): number {
    return purgeOlder(this.context, instantMs);
  }

  /** Wakes everything that fell due since the last look. */
  #scan(): void {
    const { store, db, clock } = this.context;
    const nowMs = clock.now();
    for (const id of store.instancesDue(this.#lastScanMs, nowMs)) this.orchestrations.wake(id);
    const entities = db.all<{ entity: string }>(
      "SELECT DISTINCT entity FROM entity_inbox WHERE visible_at > ? AND visible_at <= ?",
      this.#lastScanMs,
      nowMs,
    );
    for (const { entity } of entities) this.#entities.wake(entity);
    if (this.#lastScanMs >= 0) this.#activities.wake();
    this.#lastScanMs = nowMs;
    this.#setAlarm();
  }

  #setAlarm(): void {
    const next = this.context.store.nextDue(this.#lastScanMs);
    if (this.#isStopped || next === undefined || next === this.#alarmAt) return;
    this.#withdrawAlarm?.();
    this.#alarmAt = next;
    this.#withdrawAlarm = this.context.clock.wakeAt(next, () => {
      this.#alarmAt = Number.POSITIVE_INFINITY;
      if (this.#isStopped) return;
      // Also when nothing is woken (a timer that was cancelled): the clock must hear that the host is at rest again.
      const leave = this.context.busy.enter();
      this.#scan();
      leave();
    });
  }
}
