import { BackupError, toErrorDocument } from "../errors/index.ts";
import { isHeaderValid, normaliseHeaders } from "./headers.ts";
import { RESERVED_STATUSES } from "./limits.ts";
import type { RelayLog, RelayRequest, RelayResponse } from "./types.ts";

/** Marks answers of this listener, so that a sender never takes them for the relay service's own. */
export const LISTENER_HEADER = "x-gcb-relay-listener";

/** A response that the protocol allows: status not reserved, headers clean. */
export interface PreparedResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface Answering {
  /**
   * Runs the handler. Always gives a response: what the handler throws, a missed deadline, too many requests at
   * once and a response that the protocol forbids each become an error document.
   *
   * @param gone aborted when the sender can no longer be reached
   */
  answer(request: Omit<RelayRequest, "signal">, gone: AbortSignal): Promise<PreparedResponse>;
  /** Handlers that have not settled yet, also those whose deadline has passed. */
  readonly running: number;
  /** From now on every request is answered with 503. */
  refuseNew(): void;
}

const NO_BODY = new Uint8Array();

export function createAnswering(options: {
  readonly handle: (request: RelayRequest) => Promise<RelayResponse>;
  /** Time from the request to the response, in milliseconds; below the service's 60 s. */
  readonly deadlineMs: number;
  readonly maxConcurrent: number;
  readonly log: RelayLog;
}): Answering {
  const { handle, deadlineMs, maxConcurrent, log } = options;
  let running = 0;
  let isRefusing = false;

  async function runHandler(
    request: Omit<RelayRequest, "signal">,
    gone: AbortSignal,
  ): Promise<RelayResponse> {
    const stopping = new AbortController();
    let giveUp: (error: unknown) => void = () => undefined;
    const givenUp = new Promise<never>((_resolve, reject) => (giveUp = reject));
    const stop = (error: unknown) => {
      giveUp(error);
      stopping.abort(error);
    };
    const onGone = () => stop(gone.reason);
    const deadline = setTimeout(() => stop(timedOut(request, deadlineMs)), deadlineMs);
    gone.addEventListener("abort", onGone, { once: true });
    running += 1;
    const work = (async () => {
      gone.throwIfAborted();
      return handle({ ...request, signal: stopping.signal });
    })().finally(() => (running -= 1));
    try {
      return await Promise.race([work, givenUp]);
    } finally {
      clearTimeout(deadline);
      gone.removeEventListener("abort", onGone);
      work.catch(() => undefined);
    }
  }

  return {
    get running() {
      return running;
    },
    refuseNew() {
      isRefusing = true;
    },
    async answer(request, gone) {
      try {
        if (isRefusing || running >= maxConcurrent) throw busy(isRefusing, maxConcurrent);
        return prepare(await runHandler(request, gone));
      } catch (error) {
        const response = errorResponse(error);
        log(
          response.status >= 500 ? "warn" : "info",
          `relay request ${request.id} was answered with an error`,
          {
            id: request.id,
            method: request.method,
            status: response.status,
            code: toErrorDocument(error).code,
            reason: toErrorDocument(error).message,
          },
        );
        return response;
      }
    },
  };
}

/** The answer to a request that failed before or in the handler. */
export function errorResponse(error: unknown, status = statusOf(error)): PreparedResponse {
  const document = toErrorDocument(error);
  // The text of an unforeseen error may hold anything; it belongs into the agent's log, not on the wire.
  const message =
    document.code === "INTERNAL"
      ? "the agent failed on this request; its log has the cause"
      : document.message;
  return {
    status,
    headers: {
      "content-type": "application/json",
      [LISTENER_HEADER]: "1",
      ...(status === 503 ? { "retry-after": "1" } : {}),
    },
    body: new TextEncoder().encode(JSON.stringify({ ...document, message })),
  };
}

function statusOf(error: unknown): number {
  const code = error instanceof BackupError ? error.code : undefined;
  return code === "RELAY_BUSY" || code === "RELAY_HANDLER_TIMED_OUT" ? 503 : 500;
}

function prepare(response: RelayResponse): PreparedResponse {
  const { status, headers = {}, body = NO_BODY } = response;
  if (!Number.isInteger(status) || status < 200 || status > 599 || RESERVED_STATUSES.has(status)) {
    throw new BackupError(
      "RELAY_STATUS_RESERVED",
      `a handler answered with status ${status}, which the relay reserves or HTTP does not know; report it as a defect`,
      { facts: { status } },
    );
  }
  const wrong = Object.entries(headers).find(([name, value]) => !isHeaderValid(name, value));
  if (wrong !== undefined) throw new Error(`the response header ${JSON.stringify(wrong[0])} is not valid`);
  return {
    status,
    headers: normaliseHeaders([...Object.entries(headers), [LISTENER_HEADER, "1"]]),
    body,
  };
}

function busy(isRefusing: boolean, maxConcurrent: number): BackupError {
  const why = isRefusing ? "is shutting down" : `has ${maxConcurrent} requests in hand`;
  return new BackupError("RELAY_BUSY", `the agent ${why}; send the request again shortly`, {
    retry: "later",
  });
}

function timedOut(request: Omit<RelayRequest, "signal">, deadlineMs: number): BackupError {
  const { id, method, target } = request;
  return new BackupError(
    "RELAY_HANDLER_TIMED_OUT",
    `${method} ${target} was not answered within ${deadlineMs} ms; ask for the operation's state again`,
    { retry: "later", facts: { id, deadlineMs } },
  );
}
