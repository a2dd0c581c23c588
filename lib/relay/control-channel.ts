import type { WebSocket } from "ws";
import { toErrorDocument } from "../errors/index.ts";
import { listenUrl, type RelayAddress } from "./address.ts";
import { orAborted, pause } from "./backoff.ts";
import { dial, type ConnectOptions } from "./dial.ts";
import { CONTROL_READ_BYTES } from "./limits.ts";
import { formatRenewToken } from "./messages.ts";
import { closeSocket, keepAlive } from "./sockets.ts";
import { obtainToken, renewalTime, type RelayToken, type TokenProvider } from "./tokens.ts";
import type { RelayLog } from "./types.ts";

export interface ControlChannelOptions {
  readonly address: RelayAddress;
  readonly token: TokenProvider;
  /** Sent as `sb-hc-id`; finds this channel in the service's diagnostics. */
  readonly id: string;
  readonly handshakeTimeoutMs: number;
  readonly pingIntervalMs: number;
  readonly pongTimeoutMs: number;
  readonly connect: ConnectOptions;
  readonly log: RelayLog;
  readonly prepare: (socket: WebSocket) => void;
  readonly signal: AbortSignal;
}

export interface ControlChannel {
  /** Resolves when the channel has ended, for whatever reason. */
  readonly ended: Promise<{ readonly closeCode: number; readonly reason: string }>;
  close(): Promise<void>;
}

/** A renewal that failed is tried again after this time, as long as the old token lives. */
const RENEWAL_RETRY_MS = 15_000;
/** setTimeout takes 31 bits. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Opens the listener's control channel, keeps it alive and its token fresh.
 *
 * @throws BackupError RELAY_TOKEN_UNAVAILABLE and what `dial` throws
 */
export async function openControlChannel(options: ControlChannelOptions): Promise<ControlChannel> {
  const { address, log } = options;
  const token = await orAborted(obtainToken(options.token, address), options.signal);
  const over = new AbortController();
  let ended: ControlChannel["ended"] | undefined;
  const socket = await dial(address, {
    url: listenUrl(address, options.id),
    headers: { ServiceBusAuthorization: token.token },
    maxMessageBytes: CONTROL_READ_BYTES,
    handshakeTimeoutMs: options.handshakeTimeoutMs,
    connect: options.connect,
    signal: options.signal,
    prepare: (socket) => {
      ended = new Promise((resolve) => {
        socket.once("close", (closeCode, reason) => {
          over.abort();
          resolve({ closeCode, reason: reason.toString("utf8") });
        });
      });
      options.prepare(socket);
    },
  });
  keepAlive(socket, {
    intervalMs: options.pingIntervalMs,
    pongTimeoutMs: options.pongTimeoutMs,
    onSilent: () => log("warn", "the relay does not answer pings; the control channel is opened anew"),
  });
  void renewForever(socket, token, options, over.signal);
  if (ended === undefined) throw new Error("unreachable: prepare runs before the handshake");
  return { ended, close: () => closeSocket(socket, 1000) };
}

async function renewForever(
  socket: WebSocket,
  first: RelayToken,
  options: ControlChannelOptions,
  over: AbortSignal,
): Promise<void> {
  let waitMs = renewalTime(first, new Date()).getTime() - Date.now();
  for (;;) {
    await pause(Math.min(Math.max(waitMs, 50), LONGEST_TIMER_MS), over);
    if (over.aborted) return;
    try {
      const next = await obtainToken(options.token, options.address);
      socket.send(formatRenewToken(next.token), () => undefined);
      options.log("debug", "the relay token was renewed", { expiresAt: next.expiresAt.toISOString() });
      waitMs = renewalTime(next, new Date()).getTime() - Date.now();
    } catch (error) {
      const { code, message } = toErrorDocument(error);
      options.log("warn", `the relay token was not renewed: ${message}`, { code });
      waitMs = RENEWAL_RETRY_MS;
    }
  }
}
