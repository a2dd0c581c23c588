/**
 * How long to wait before the next attempt: a random time up to a ceiling that doubles with every attempt
 * ("full jitter"), so that many agents do not come back in step after an outage.
 *
 * @param attempt 0 for the first wait
 * @param random a number in [0, 1)
 */
export function backoffMs(
  attempt: number,
  limits: { readonly baseMs: number; readonly maxMs: number },
  random: number,
): number {
  const ceiling = Math.min(limits.maxMs, limits.baseMs * 2 ** Math.min(attempt, 30));
  return Math.round(ceiling * random);
}

/** Waits, or returns at once when the signal is or becomes aborted. Never rejects. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}

/** Waits for a promise, but no longer than `ms`. Never rejects. */
export async function waitAtMost(ms: number, promise: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  const finish = () => done.abort();
  promise.then(finish, finish);
  await pause(ms, done.signal);
}

/** The promise, or a rejection with the signal's reason as soon as it is aborted. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const over = new AbortController();
  const aborted = pauseUntilAborted(signal, over.signal);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    over.abort();
    promise.catch(() => undefined);
  }
}

function pauseUntilAborted(signal: AbortSignal, over: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = () => reject(toError(signal.reason));
    if (signal.aborted) fail();
    else signal.addEventListener("abort", fail, { once: true, signal: over });
  });
}

function toError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
