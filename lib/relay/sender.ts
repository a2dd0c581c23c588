import { BackupError } from "../errors/index.ts";
import { parseRelayAddress, sendUrl, type RelayAddress } from "./address.ts";
import { LISTENER_HEADER } from "./answering.ts";
import { orAborted } from "./backoff.ts";
import { isHeaderValid, normaliseHeaders } from "./headers.ts";
import { RESERVED_STATUSES } from "./limits.ts";
import { serviceRefusal, unreachable } from "./service-errors.ts";
import { createTokenCache, type TokenProvider } from "./tokens.ts";

export interface SenderRequest {
  readonly method: string;
  /** Path and query behind the hybrid connection's path, starting with "/". */
  readonly path: string;
  /** Arrive at the listener unchanged, `authorization` too: the relay's own token travels in another header. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly signal?: AbortSignal;
}

export interface SenderResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface RelaySender {
  /**
   * Sends one request and gives the listener's answer, whatever its status.
   *
   * @throws BackupError RELAY_NO_LISTENER, RELAY_TIMED_OUT (the request may have been carried out), RELAY_TOKEN_REFUSED,
   * RELAY_FORBIDDEN, RELAY_NOT_FOUND, RELAY_UNREACHABLE, RELAY_SERVICE_FAILED, RELAY_TOKEN_UNAVAILABLE,
   * RELAY_RESPONSE_TOO_LARGE, INPUT_INVALID; the signal's reason when the caller aborts
   */
  readonly send: (request: SenderRequest) => Promise<SenderResponse>;
}

export interface SenderOptions {
  readonly address: RelayAddress;
  readonly token: TokenProvider;
  /** For the whole exchange. Default 65 s, just above the service's 60 s, so that its 504 arrives first. */
  readonly timeoutMs?: number;
  /** Default 16 MiB. */
  readonly maxResponseBytes?: number;
  readonly fetch?: typeof globalThis.fetch;
  readonly clock?: () => Date;
}

const TOKEN_HEADER = "servicebusauthorization";
/** What the service answers by itself; a listener may use the same statuses, except the reserved ones. */
const SERVICE_STATUSES: ReadonlySet<number> = new Set([401, 403, 404, 500, 502, 503, 504]);

/** @throws BackupError INPUT_INVALID when the address is not valid */
export function createSender(options: SenderOptions): RelaySender {
  const address = parseRelayAddress(options.address);
  const { timeoutMs = 65_000, maxResponseBytes = 16 * 1024 * 1024, fetch = globalThis.fetch } = options;
  const tokens = createTokenCache(options.token, address, options.clock);

  async function attempt(
    request: SenderRequest,
    token: string,
    signal: AbortSignal,
  ): Promise<SenderResponse> {
    const response = await fetch(sendUrl(address, request.path), {
      method: request.method,
      headers: { ...normaliseHeaders(Object.entries(request.headers ?? {})), [TOKEN_HEADER]: token },
      redirect: "manual",
      signal,
      ...(request.body === undefined ? {} : { body: new Uint8Array(request.body) }),
    });
    const body = await readBody(response, maxResponseBytes, request);
    if (isFromService(response)) throw serviceRefusal(response.status, "Send", address, response.statusText);
    return { status: response.status, headers: normaliseHeaders(response.headers), body };
  }

  /** Sends a request; when a token that was kept for a while is refused, once more with a new one. */
  async function sendOnce(request: SenderRequest, signal: AbortSignal): Promise<SenderResponse> {
    const { token, isFresh } = await tokens.get();
    try {
      return await attempt(request, token, signal);
    } catch (error) {
      // A refused token reached no listener, so nothing was carried out.
      if (!(error instanceof BackupError) || error.code !== "RELAY_TOKEN_REFUSED") throw error;
      tokens.drop(token);
      if (isFresh) throw error;
      return attempt(request, (await tokens.get()).token, signal);
    }
  }

  return {
    async send(request) {
      checkRequest(request);
      const stop = new AbortController();
      const onAbort = () => stop.abort(request.signal?.reason);
      request.signal?.throwIfAborted();
      request.signal?.addEventListener("abort", onAbort, { once: true });
      const timer = setTimeout(() => stop.abort(timedOut(address, request, timeoutMs)), timeoutMs);
      try {
        return await orAborted(sendOnce(request, stop.signal), stop.signal);
      } catch (error) {
        if (stop.signal.aborted) throw stop.signal.reason;
        throw error instanceof BackupError ? error : unreachable(address, error);
      } finally {
        clearTimeout(timer);
        request.signal?.removeEventListener("abort", onAbort);
      }
    },
  };
}

/**
 * Whether the relay service answered, not a listener. The service adds `Via` to what a listener answered; listeners
 * of this project add a header of their own.
 */
function isFromService(response: Response): boolean {
  if (RESERVED_STATUSES.has(response.status)) return true;
  if (response.headers.has(LISTENER_HEADER) || response.headers.has("via")) return false;
  return SERVICE_STATUSES.has(response.status);
}

async function readBody(response: Response, limitBytes: number, request: SenderRequest): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  const stream: AsyncIterable<Uint8Array> | null = response.body;
  if (stream === null) return new Uint8Array();
  for await (const part of stream) {
    bytes += part.byteLength;
    if (bytes > limitBytes) {
      throw new BackupError(
        "RELAY_RESPONSE_TOO_LARGE",
        `the response to ${request.method} ${request.path} exceeds ${limitBytes} bytes; ask for it in pages`,
        { facts: { limitBytes } },
      );
    }
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function checkRequest(request: SenderRequest): void {
  const { method, headers = {}, body } = request;
  const wrong = Object.entries(headers).find(([name, value]) => !isHeaderValid(name, value));
  const hasNoBody = method === "GET" || method === "HEAD";
  const problem = !/^[A-Z]{1,32}$/.test(method)
    ? `the method ${JSON.stringify(method)} is not valid`
    : wrong !== undefined
      ? `the header ${JSON.stringify(wrong[0])} is not valid`
      : hasNoBody && body !== undefined
        ? `${method} takes no body`
        : undefined;
  if (problem === undefined) return;
  throw new BackupError("INPUT_INVALID", `the relay request cannot be sent: ${problem}; correct it`);
}

function timedOut(address: RelayAddress, request: SenderRequest, timeoutMs: number): BackupError {
  const { method, path } = request;
  return new BackupError(
    "RELAY_TIMED_OUT",
    `${address.path}: ${method} ${path} got no answer within ${timeoutMs} ms; ` +
      "it may have been carried out, ask for the operation's state",
    { retry: "later", facts: { path: address.path, timeoutMs } },
  );
}
