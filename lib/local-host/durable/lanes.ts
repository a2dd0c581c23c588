import type { Busy } from "../busy.ts";

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 60_000;

export interface LanesOptions {
  readonly run: (key: string) => Promise<void>;
  /** Told when `run` rejected; the key is run again after a wait that doubles with every failure in a row. */
  readonly onError: (key: string, error: unknown) => void;
  /** How many keys run at once. */
  readonly width: number;
  readonly busy: Busy;
}

/**
 * Runs a piece of work per key: never two at once for one key, at most `width` at once altogether, in the order in which
 * they were asked for. A key that is woken while it runs runs once more.
 */
export class Lanes {
  readonly #options: LanesOptions;
  readonly #queue = new Set<string>();
  readonly #active = new Set<string>();
  readonly #again = new Set<string>();
  readonly #leave = new Map<string, () => void>();
  readonly #failures = new Map<string, number>();
  #isPumping = false;
  #isStopped = false;

  constructor(options: LanesOptions) {
    this.#options = options;
  }

  wake(key: string): void {
    if (this.#isStopped) return;
    if (this.#active.has(key)) {
      this.#again.add(key);
      return;
    }
    if (this.#queue.has(key)) return;
    this.#queue.add(key);
    this.#leave.set(key, this.#options.busy.enter());
    if (this.#isPumping) return;
    this.#isPumping = true;
    setImmediate(() => {
      this.#isPumping = false;
      this.#pump();
    });
  }

  /** Starts nothing more; what runs comes to its end. */
  stop(): void {
    this.#isStopped = true;
    for (const key of this.#queue) this.#end(key);
    this.#queue.clear();
    this.#again.clear();
  }

  #pump(): void {
    for (const key of this.#queue) {
      if (this.#active.size >= this.#options.width) return;
      this.#queue.delete(key);
      this.#active.add(key);
      void this.#runOne(key);
    }
  }

  async #runOne(key: string): Promise<void> {
    try {
      await this.#options.run(key);
      this.#failures.delete(key);
    } catch (error) {
      this.#options.onError(key, error);
      this.#retryLater(key);
    }
    this.#active.delete(key);
    if (this.#again.delete(key) && !this.#isStopped) this.#queue.add(key);
    else this.#end(key);
    this.#pump();
  }

  #retryLater(key: string): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    setTimeout(
      () => {
        this.wake(key);
      },
      Math.min(FIRST_RETRY_MS * 2 ** failures, LONGEST_RETRY_MS),
    ).unref();
  }

  #end(key: string): void {
    this.#leave.get(key)?.();
    this.#leave.delete(key);
  }
}
