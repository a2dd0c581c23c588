/**
 * Counts what is under way and tells when nothing is.
 *
 * Idle is announced from a fresh macrotask after the count fell to zero, so that work which one piece hands to the
 * next is not mistaken for rest.
 */
export class Busy {
  #count = 0;
  #check: NodeJS.Immediate | undefined;
  #waiters: (() => void)[] = [];
  readonly #onIdle: () => void;

  constructor(onIdle: () => void) {
    this.#onIdle = onIdle;
  }

  get isIdle(): boolean {
    return this.#count === 0 && this.#check === undefined;
  }

  /** @returns ends the piece of work; further calls do nothing */
  enter(): () => void {
    this.#count++;
    let open = true;
    return () => {
      if (!open) return;
      open = false;
      this.#count--;
      if (this.#count === 0) this.#scheduleCheck();
    };
  }

  /** Runs one piece of work. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    const leave = this.enter();
    try {
      return await work();
    } finally {
      leave();
    }
  }

  /** Resolves at the next moment of rest, or at once when there is nothing to wait for. */
  async whenIdle(): Promise<void> {
    if (this.isIdle) return;
    await new Promise<void>((resolve) => {
      this.#waiters.push(resolve);
    });
  }

  #scheduleCheck(): void {
    this.#check ??= setImmediate(() => {
      this.#check = undefined;
      if (this.#count > 0) return;
      const waiting = this.#waiters;
      this.#waiters = [];
      for (const resolve of waiting) resolve();
      this.#onIdle();
    });
  }
}
