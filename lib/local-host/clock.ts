export type WakeKind = "work" | "routine";

/** Where the host takes the time from. All instants are milliseconds since 1970-01-01T00:00:00Z. */
export interface Clock {
  now(): number;
  /**
   * Calls back once, at or after `atMs`; the returned function withdraws it. The callback must not throw.
   *
   * @param kind `routine` for what comes round for ever (timer triggers, the purge): a clock that moves by itself
   *   does not move for that
   */
  wakeAt(atMs: number, callback: () => void, kind?: WakeKind): () => void;
  /** Told whenever the host has nothing left to do before its next wake-up. */
  onIdle?(): void;
}

/** setTimeout overflows at 2^31 ms (24.8 days), so long waits are taken in steps. */
const LONGEST_STEP_MS = 24 * 60 * 60 * 1000;

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  wakeAt(atMs, callback) {
    let handle: NodeJS.Timeout | undefined;
    const arm = (): void => {
      const leftMs = atMs - Date.now();
      handle =
        leftMs > LONGEST_STEP_MS
          ? setTimeout(arm, LONGEST_STEP_MS)
          : setTimeout(callback, Math.max(0, leftMs));
    };
    arm();
    return () => {
      clearTimeout(handle);
    };
  },
};

/** A clock that never goes back, over one that may: a machine's clock can be set. */
export function monotonic(clock: Clock): Clock {
  let latest = 0;
  return {
    now: () => (latest = Math.max(latest, clock.now())),
    wakeAt: (atMs, callback, kind) => clock.wakeAt(atMs, callback, kind),
    onIdle: () => clock.onIdle?.(),
  };
}

interface Waiter {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
  readonly kind: WakeKind;
}

/**
 * A clock that stands still until it is told to move, so that timers of months pass at once and in a fixed order.
 *
 * `advance` moves it over every wake-up on the way and lets the host come to rest at each of them. With `autoAdvance`
 * it jumps by itself to the next durable timer whenever the host is idle; timer triggers fire as it passes them.
 */
export class VirtualClock implements Clock {
  #nowMs: number;
  #order = 0;
  #waiters: Waiter[] = [];
  readonly #autoAdvance: boolean;

  constructor(options: { readonly startAt: Date; readonly autoAdvance?: boolean }) {
    this.#nowMs = options.startAt.getTime();
    this.#autoAdvance = options.autoAdvance ?? false;
  }

  now(): number {
    return this.#nowMs;
  }

  wakeAt(atMs: number, callback: () => void, kind: WakeKind = "work"): () => void {
    const waiter: Waiter = { atMs, order: this.#order++, callback, kind };
    this.#waiters.push(waiter);
    return () => {
      this.#waiters = this.#waiters.filter((other) => other !== waiter);
    };
  }

  onIdle(): void {
    if (!this.#autoAdvance) return;
    const work = this.#waiters.filter(({ kind }) => kind === "work");
    if (work.length > 0) this.#fireNext(Math.min(...work.map(({ atMs }) => atMs)));
  }

  /**
   * Moves the clock by `durationMs`, firing what becomes due on the way, oldest first.
   * Resolves when the clock stands at its target. The host must be running.
   *
   * @param settle resolves when the host is at rest; give `host.whenIdle`
   */
  async advance(durationMs: number, settle: () => Promise<void>): Promise<void> {
    const targetMs = this.#nowMs + durationMs;
    await settle();
    while (this.#fireNext(targetMs)) await settle();
    this.#nowMs = targetMs;
  }

  #fireNext(limitMs: number): boolean {
    const [next] = [...this.#waiters].sort((a, b) => a.atMs - b.atMs || a.order - b.order);
    if (next === undefined || next.atMs > limitMs) return false;
    this.#waiters = this.#waiters.filter((other) => other !== next);
    this.#nowMs = Math.max(this.#nowMs, next.atMs);
    next.callback();
    return true;
  }
}
