import type { Busy } from "../busy.ts";

/**
 * Runs a piece of work per key: never two at once for one key, at most `width` at once altogether, in the order in which
 * they were asked for. A key that is woken while it runs runs once more.
 */
export class Lanes {
  readonly #run: (key: string) => Promise<void>;
  readonly #width: number;
  readonly #busy: Busy;
  readonly #queue = new Set<string>();
  readonly #active = new Set<string>();
  readonly #again = new Set<string>();
  readonly #leave = new Map<string, () => void>();
  #isPumping = false;
  #isStopped = false;

  /** @param run must not reject */
  constructor(run: (key: string) => Promise<void>, width: number, busy: Busy) {
    this.#run = run;
    this.#width = width;
    this.#busy = busy;
  }

  wake(key: string): void {
    if (this.#isStopped) return;
    if (this.#active.has(key)) {
      this.#again.add(key);
      return;
    }
    if (this.#queue.has(key)) return;
    this.#queue.add(key);
    this.#leave.set(key, this.#busy.enter());
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
      if (this.#active.size >= this.#width) return;
      this.#queue.delete(key);
      this.#active.add(key);
      void this.#run(key).finally(() => {
        this.#active.delete(key);
        if (this.#again.delete(key) && !this.#isStopped) {
          this.#queue.add(key);
        } else {
          this.#end(key);
        }
        this.#pump();
      });
    }
  }

  #end(key: string): void {
    this.#leave.get(key)?.();
    this.#leave.delete(key);
  }
}
