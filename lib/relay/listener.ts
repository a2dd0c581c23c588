import { randomUUID } from "node:crypto";
import { BackupError, toErrorDocument } from "../errors/index.ts";
import { parseRelayAddress, type RelayAddress } from "./address.ts";
import { createAnswering } from "./answering.ts";
import { backoffMs, pause, waitAtMost } from "./backoff.ts";
import { openControlChannel, type ControlChannel } from "./control-channel.ts";
import type { ConnectOptions } from "./dial.ts";
import { createExchange } from "./exchange.ts";
import { printable } from "./service-errors.ts";
import type { TokenProvider } from "./tokens.ts";
import type { RelayLog, RelayRequest, RelayResponse } from "./types.ts";

export interface ListenerOptions {
  readonly address: RelayAddress;
  readonly token: TokenProvider;
  /** Called once per request. It should watch `request.signal`; it is not called for more than `maxConcurrent` at once. */
  readonly handle: (request: RelayRequest) => Promise<RelayResponse>;
  readonly log: RelayLog;
  /** Aborting it is the same as `close()`. */
  readonly signal?: AbortSignal;
  readonly onStateChange?: (state: ListenerState) => void;
  /** How often the control channel is pinged. Default 45 s. */
  readonly pingIntervalMs?: number;
  /** How long a pong may take before the channel counts as dead. Default 15 s. */
  readonly pongTimeoutMs?: number;
  /** Default 15 s. */
  readonly handshakeTimeoutMs?: number;
  /** How long a handler may take. Default 55 s: the service gives up after 60 s. */
  readonly responseDeadlineMs?: number;
  /** Requests in hand at once; more are answered with 503. Default 64. */
  readonly maxConcurrent?: number;
  /** Larger request bodies are answered with 413. Default 4 MiB. */
  readonly maxBodyBytes?: number;
  /** Waits between attempts to reconnect: random, up to a ceiling that doubles from base to max. Default 0.5 s to 30 s. */
  readonly reconnect?: { readonly baseMs: number; readonly maxMs: number };
  readonly random?: () => number;
  readonly connect?: ConnectOptions;
}

/** `waiting`: no channel, the next attempt comes after a pause. `draining`: no new requests, answers still go out. */
export type ListenerState = "connecting" | "listening" | "waiting" | "draining" | "closed";

export interface RelayListener extends AsyncDisposable {
  /**
   * Settles once, with the outcome of the first attempt that reached the service: rejects with RELAY_TOKEN_REFUSED,
   * RELAY_FORBIDDEN or RELAY_NOT_FOUND when the service refused it, or CANCELLED when the listener was closed before.
   * The listener goes on trying either way, until it is closed; while the service is unreachable it stays pending.
   */
  readonly ready: Promise<void>;
  readonly state: ListenerState;
  /** Why the last attempt or channel failed, while there is no channel. */
  readonly lastError: BackupError | undefined;
  /** Takes no more requests, waits for answers under way for at most `drainMs` (default 10 s), then closes. Idempotent. */
  close(options?: { readonly drainMs?: number }): Promise<void>;
}

const DRAIN_MS = 10_000;
/** For the error answers of handlers that were aborted. */
const LAST_ANSWERS_MS = 2_000;
/** A channel that lived this long ends the count of failed attempts. */
const STABLE_MS = 10_000;

/**
 * Listens on a hybrid connection and answers its HTTP requests until closed. Reconnects by itself.
 *
 * @throws BackupError INPUT_INVALID when the address is not valid
 */
export function startListener(options: ListenerOptions): RelayListener {
  const address = parseRelayAddress(options.address);
  const { log, random = Math.random, reconnect = { baseMs: 500, maxMs: 30_000 } } = options;
  const timing = {
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? 15_000,
    pingIntervalMs: options.pingIntervalMs ?? 45_000,
    pongTimeoutMs: options.pongTimeoutMs ?? 15_000,
    connect: options.connect ?? {},
  };
  const answering = createAnswering({
    handle: options.handle,
    deadlineMs: options.responseDeadlineMs ?? 55_000,
    maxConcurrent: options.maxConcurrent ?? 64,
    log,
  });
  const maxBodyBytes = options.maxBodyBytes ?? 4 * 1024 * 1024;
  const exchange = createExchange({ address, answering, maxBodyBytes, log, ...timing });
  const id = randomUUID();
  const ready = Promise.withResolvers<undefined>();
  ready.promise.catch(() => undefined); // whoever does not ask for it is told by the log
  /** Aborted as soon as closing begins: no further attempts. */
  const closing = new AbortController();
  let state: ListenerState = "connecting";
  let lastError: BackupError | undefined;
  let channel: ControlChannel | undefined;
  let closed: Promise<void> | undefined;

  function enter(next: ListenerState): void {
    if (state === next || state === "closed" || (state === "draining" && next !== "closed")) return;
    state = next;
    options.onStateChange?.(next);
  }

  const isClosing = () => closing.signal.aborted;

  async function connect(): Promise<ControlChannel> {
    enter("connecting");
    const opened = await openControlChannel({
      address,
      token: options.token,
      id,
      log,
      ...timing,
      prepare: (socket) => exchange.attachControl(socket),
      signal: closing.signal,
    });
    channel = opened;
    lastError = undefined;
    enter("listening");
    log("info", "the agent listens on the relay", { endpoint: address.endpoint, path: address.path });
    ready.resolve(undefined);
    return opened;
  }

  async function run(): Promise<void> {
    let attempt = 0;
    while (!isClosing()) {
      let openedAtMs: number | undefined;
      try {
        const open = await connect();
        openedAtMs = performance.now();
        const { closeCode, reason } = await open.ended;
        lastError = channelEnded(address, closeCode, reason);
      } catch (error) {
        lastError = asBackupError(error);
        if (lastError.retry === "after-operator") ready.reject(lastError);
      }
      channel = undefined;
      if (isClosing()) break;
      if (openedAtMs !== undefined && performance.now() - openedAtMs >= STABLE_MS) attempt = 0;
      const waitMs = backoffMs(attempt, reconnect, random());
      attempt += 1;
      enter("waiting");
      log("warn", lastError.message, { code: lastError.code, attempt, waitMs });
      await pause(waitMs, closing.signal);
    }
  }

  const running = run();

  async function shutDown(drainMs: number): Promise<void> {
    options.signal?.removeEventListener("abort", onAbort);
    enter("draining");
    closing.abort();
    answering.refuseNew();
    ready.reject(
      new BackupError("CANCELLED", "the relay listener was closed before it was ready", { retry: "later" }),
    );
    await waitAtMost(drainMs, exchange.idle());
    exchange.abort();
    await waitAtMost(LAST_ANSWERS_MS, exchange.idle());
    await exchange.close();
    await channel?.close();
    await running;
    enter("closed");
  }

  const close: RelayListener["close"] = ({ drainMs = DRAIN_MS } = {}) => (closed ??= shutDown(drainMs));
  const onAbort = () => void close();
  if (options.signal?.aborted === true) onAbort();
  else options.signal?.addEventListener("abort", onAbort, { once: true });

  return {
    ready: ready.promise,
    get state() {
      return state;
    },
    get lastError() {
      return lastError;
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  };
}

/** What a close code of the service means (protocol, "Listener control channel connection"). */
function channelEnded(address: RelayAddress, closeCode: number, reason: string): BackupError {
  const where = `${address.endpoint}/${address.path}`;
  const facts = { endpoint: address.endpoint, path: address.path, closeCode };
  const said = printable(reason) === "" ? "" : ` (relay says: ${printable(reason)})`;
  switch (closeCode) {
    case 1001:
      return new BackupError(
        "RELAY_NOT_FOUND",
        `${where}: the hybrid connection was deleted or disabled${said}; check it in the relay namespace`,
        { retry: "after-operator", facts },
      );
    case 1008:
      return new BackupError(
        "RELAY_TOKEN_REFUSED",
        `${where}: the token ran out or was refused${said}; a new one is asked for`,
        { retry: "later", facts },
      );
    default:
      return new BackupError(
        "RELAY_SERVICE_FAILED",
        `${where}: the control channel was closed with code ${closeCode}${said}; it is opened again`,
        { retry: "later", facts },
      );
  }
}

function asBackupError(error: unknown): BackupError {
  if (error instanceof BackupError) return error;
  return new BackupError("INTERNAL", toErrorDocument(error).message, { cause: error });
}
