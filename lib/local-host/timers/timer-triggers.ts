import * as z from "zod";
import { BackupError } from "../../errors/index.ts";
import { resolveSettings } from "../app/settings.ts";
import type { Busy } from "../busy.ts";
import type { Clock } from "../clock.ts";
import type { FunctionRegistry, RegisteredFunction } from "../core/function-registry.ts";
import type { InvocationRequest } from "../core/rpc.ts";
import type { Database } from "../durable/database.ts";
import type { LogSink } from "../log.ts";
import { parseSchedule, type Schedule } from "./schedule.ts";

const TimerBinding = z.object({
  schedule: z.string(),
  runOnStartup: z.boolean().default(false),
  useMonitor: z.boolean().optional(),
});

interface TimerRow extends Record<string, unknown> {
  readonly schedule: string;
  readonly last: number | null;
  readonly next: number | null;
  readonly updated: number;
}

interface TimerFunction {
  readonly fn: RegisteredFunction;
  readonly text: string;
  readonly schedule: Schedule;
  readonly useMonitor: boolean;
  readonly runOnStartup: boolean;
  running: Promise<void>;
  withdraw: () => void;
}

export interface TimerOptions {
  readonly registry: FunctionRegistry;
  readonly db: Database;
  readonly clock: Clock;
  readonly busy: Busy;
  readonly log: LogSink;
  readonly settings: Readonly<Record<string, string>>;
  readonly isDisabled: (functionName: string) => boolean;
  /** Calls the function with the timer's status; rejects when it failed for good. */
  readonly call: (
    fn: RegisteredFunction,
    data: InvocationRequest["inputData"][number]["data"],
  ) => Promise<void>;
}

/** Schedules closer than a minute are not monitored by default, as in Azure. */
const MONITOR_FROM_MS = 60_000;

/**
 * Fires timer triggers: one run at a time per function, the next occurrence counted from now. The last and the next run
 * are kept in the database, so that an occurrence that was missed while the host was down is made up for once, at start.
 */
export class TimerTriggers {
  readonly #options: TimerOptions;
  readonly #timers = new Map<string, TimerFunction>();
  #isStopped = false;

  /** @throws BackupError HOST_APP_INVALID when a schedule can't be read */
  constructor(options: TimerOptions) {
    this.#options = options;
    for (const fn of options.registry.ofType("timertrigger")) {
      const { name } = fn.metadata;
      if (options.isDisabled(name)) continue;
      const binding = TimerBinding.parse(fn.metadata.bindings[fn.triggerName]);
      const text = resolveSettings(binding.schedule, options.settings, `timer function "${name}"`);
      let schedule: Schedule;
      try {
        schedule = parseSchedule(
          text,
          options.settings["WEBSITE_TIME_ZONE"] ?? options.settings["TZ"] ?? "UTC",
        );
      } catch (error) {
        throw new BackupError(
          "HOST_APP_INVALID",
          `The schedule "${text}" of timer function "${name}" can't be read; use six fields such as "0 30 2 * * *".`,
          {
            cause: error,
          },
        );
      }
      const nowMs = options.clock.now();
      const first = schedule.next(nowMs);
      const second = first === undefined ? undefined : schedule.next(first);
      const isRare = first === undefined || second === undefined || second - first >= MONITOR_FROM_MS;
      this.#timers.set(name, {
        fn,
        text,
        schedule,
        useMonitor: (binding.useMonitor ?? true) && isRare,
        runOnStartup: binding.runOnStartup,
        running: Promise.resolve(),
        withdraw: () => undefined,
      });
    }
  }

  start(): void {
    const nowMs = this.#options.clock.now();
    for (const timer of this.#timers.values()) {
      const row = this.#read(timer);
      const isMissed =
        timer.useMonitor && row?.schedule === timer.text && row.next !== null && row.next < nowMs;
      if (isMissed || timer.runOnStartup) void this.#fire(timer, isMissed);
      else this.#arm(timer);
    }
  }

  /** Fires nothing more. */
  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#timers.values()) timer.withdraw();
  }

  #read({ fn }: TimerFunction): TimerRow | undefined {
    return this.#options.db.get<TimerRow>("SELECT * FROM timer_triggers WHERE name = ?", fn.metadata.name);
  }

  #write({ fn, text }: TimerFunction, last: number | null, next: number | null): void {
    this.#options.db.run(
      "INSERT OR REPLACE INTO timer_triggers (name, schedule, last, next, updated) VALUES (?, ?, ?, ?, ?)",
      fn.metadata.name,
      text,
      last,
      next,
      this.#options.clock.now(),
    );
  }

  #arm(timer: TimerFunction): void {
    const { clock } = this.#options;
    if (this.#isStopped) return;
    const next = timer.schedule.next(clock.now());
    this.#write(timer, this.#read(timer)?.last ?? null, next ?? null);
    if (next === undefined) return;
    timer.withdraw();
    timer.withdraw = clock.wakeAt(next, () => void this.#fire(timer, false), "routine");
  }

  async #fire(timer: TimerFunction, isPastDue: boolean): Promise<void> {
    const { clock, busy, call, log } = this.#options;
    await busy.during(async () => {
      const nowMs = clock.now();
      const row = this.#read(timer);
      const next = timer.schedule.next(nowMs);
      const iso = (ms: number | null | undefined): string | null =>
        ms === null || ms === undefined ? null : new Date(ms).toISOString();
      const info = {
        Schedule: { AdjustForDST: true },
        ScheduleStatus: { Last: iso(row?.last), LastUpdated: iso(row?.updated), Next: iso(next) },
        IsPastDue: isPastDue,
      };
      try {
        await call(timer.fn, { json: JSON.stringify(info) });
      } catch (error) {
        log({
          level: "error",
          category: "host",
          functionName: timer.fn.metadata.name,
          message: `Timer function '${timer.fn.metadata.name}' failed: ${String(error)}`,
        });
      }
      if (!this.#isStopped) this.#write(timer, nowMs, next ?? null);
    });
    this.#arm(timer);
  }
}
