import { setTimeout as sleep } from "node:timers/promises";
import type { LogSink } from "../log.ts";
import type { FunctionRegistry, RegisteredFunction } from "./function-registry.ts";
import { invoke, type Invocation } from "./invoke.ts";
import type { InvocationRequest, RetryMetadata, TypedData } from "./rpc.ts";
import { withTimeout } from "./timeout.ts";

export interface FunctionCallerOptions {
  readonly registry: FunctionRegistry;
  readonly log: LogSink;
  /** host.json functionTimeout; undefined for no limit. */
  readonly timeoutMs: number | undefined;
  /** What a function with a `durableClient` input gets there. */
  readonly clientBinding: unknown;
}

/** Calls functions of the app with the inputs that they were registered with. */
export class FunctionCaller {
  readonly #options: FunctionCallerOptions;
  #isStopping = false;

  constructor(options: FunctionCallerOptions) {
    this.#options = options;
  }

  /** Lets no retry policy start another try. */
  stop(): void {
    this.#isStopping = true;
  }

  /**
   * Calls a function once.
   * @throws InvocationError what it threw, as `cause`
   * @throws Error when it took longer than functionTimeout
   */
  call(
    fn: RegisteredFunction,
    data: TypedData | null,
    more: Pick<Partial<InvocationRequest>, "triggerMetadata" | "retryContext"> = {},
  ): Promise<Invocation> {
    const { registry, log, timeoutMs, clientBinding } = this.#options;
    const clients = Object.entries(fn.metadata.bindings)
      .filter(([, { type }]) => /^(durableClient|orchestrationClient)$/i.test(type))
      .map(([name]) => ({ name, data: { json: JSON.stringify(clientBinding) } }));
    const request = { triggerMetadata: {}, ...more, inputData: [{ name: fn.triggerName, data }, ...clients] };
    return withTimeout(invoke(registry, fn, request, log), timeoutMs, fn.metadata.name);
  }

  /** Calls a function with the retry policy that it was registered with; rejects with its last error. */
  async callWithRetry(fn: RegisteredFunction, data: TypedData | null): Promise<void> {
    const policy = fn.metadata.retryOptions;
    const given = policy?.maxRetryCount ?? 0;
    const maxRetryCount = given === -1 ? Number.POSITIVE_INFINITY : given;
    for (let retryCount = 0; ; retryCount++) {
      try {
        const isRetry = retryCount > 0;
        await this.call(fn, data, isRetry ? { retryContext: { retryCount, maxRetryCount: given } } : {});
        return;
      } catch (error) {
        if (retryCount >= maxRetryCount || this.#isStopping || policy === undefined) throw error;
        await sleep(delayMs(policy, retryCount));
      }
    }
  }
}

/** Functions retry policies: a fixed delay, or one that doubles from the shortest to the longest. */
function delayMs(policy: RetryMetadata, retryCount: number): number {
  const seconds = (duration: { seconds?: number } | undefined): number => duration?.seconds ?? 0;
  if (policy.retryStrategy !== "exponentialBackoff") return seconds(policy.delayInterval) * 1000;
  const doubled = seconds(policy.minimumInterval) * 2 ** retryCount;
  return Math.min(doubled, seconds(policy.maximumInterval)) * 1000;
}
