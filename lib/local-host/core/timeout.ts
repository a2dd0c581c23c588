/**
 * Rejects when a function takes longer than host.json's functionTimeout. The function itself can't be stopped; what it
 * gives later is dropped. (Azure ends the worker process instead.)
 */
export async function withTimeout<T>(
  call: Promise<T>,
  limitMs: number | undefined,
  functionName: string,
): Promise<T> {
  if (limitMs === undefined) return call;
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => {
        reject(
          new Error(
            `Timeout value of ${limitMs} ms exceeded by function '${functionName}' (host.json functionTimeout).`,
          ),
        );
      },
      Math.min(limitMs, 2 ** 31 - 1),
    );
  });
  try {
    return await Promise.race([call, limit]);
  } finally {
    clearTimeout(timer);
  }
}
