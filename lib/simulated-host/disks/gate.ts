/** Lets work through until it is closed; closing waits for the work inside and holds back what comes after. */
export class Gate {
  #inside = 0;
  #closings = 0;
  #opened: PromiseWithResolvers<void> | undefined;
  #emptied: PromiseWithResolvers<void> | undefined;

  get isClosed(): boolean {
    return this.#closings > 0;
  }

  async pass<T>(work: () => Promise<T>): Promise<T> {
    while (this.#closings > 0) await (this.#opened ??= Promise.withResolvers()).promise;
    this.#inside++;
    try {
      return await work();
    } finally {
      this.#inside--;
      if (this.#inside === 0) {
        this.#emptied?.resolve();
        this.#emptied = undefined;
      }
    }
  }

  /** Holds back new work at once; resolves when none is inside. Each close needs its own open. */
  async close(): Promise<void> {
    this.#closings++;
    if (this.#inside > 0) await (this.#emptied ??= Promise.withResolvers()).promise;
  }

  open(): void {
    this.#closings--;
    if (this.#closings > 0) return;
    this.#opened?.resolve();
    this.#opened = undefined;
  }
}

/** Carries out one piece of work after another, in the order of the calls; a failure does not stop the next. */
export class Queue {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
