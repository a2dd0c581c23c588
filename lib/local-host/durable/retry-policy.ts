import type { RetryOptions } from "./actions.ts";

/** first × coefficient^(tries so far − 1), at most the longest interval (RetryInterceptor.ComputeNextDelay). */
export function backOffMs(options: RetryOptions, attempt: number): number {
  const delay = options.firstRetryIntervalInMilliseconds * (options.backoffCoefficient ?? 1) ** (attempt - 1);
  return Math.min(
    delay,
    options.maxRetryIntervalInMilliseconds ?? Number.MAX_SAFE_INTEGER,
    Number.MAX_SAFE_INTEGER,
  );
}

export function isRetryTimeOver(options: RetryOptions, firstTriedAt: number, nowMs: number): boolean {
  const limit = options.retryTimeoutInMilliseconds;
  return limit !== null && limit !== undefined && limit > 0 && nowMs >= firstTriedAt + limit;
}
