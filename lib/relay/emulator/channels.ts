import type { Duplex } from "node:stream";
import { WebSocket, type RawData } from "ws";
import type { ChannelKind } from "../messages.ts";
import { bodyViolations, parseListenerMessage, type ResponseHead } from "./listener-messages.ts";

/** A response as it came from a listener. */
export interface ListenerResponse {
  readonly head: ResponseHead;
  readonly body: Buffer;
  /** What in it the protocol forbids; the sender then gets 500. */
  readonly violations: readonly string[];
}

/** One socket of a listener: its control channel or a rendezvous. */
export interface ListenerChannel {
  readonly kind: ChannelKind;
  readonly socket: WebSocket;
}

export interface ChannelHandlers {
  readonly onResponse: (response: ListenerResponse) => void;
  /** The response's header is here and its body is still coming; called for every piece that arrives. */
  readonly onProgress: (requestId: string) => void;
  readonly onRenewToken: (token: string) => void;
  readonly onViolation: (reason: string) => void;
  readonly onClose: () => void;
}

const NO_BODY = Buffer.alloc(0);

/** Reads what a listener sends on one socket. Nothing that it sends can stop the emulator. */
export function openChannel(
  kind: ChannelKind,
  socket: WebSocket,
  raw: Duplex,
  handlers: ChannelHandlers,
): ListenerChannel {
  let waiting: { head: ResponseHead; violations: readonly string[] } | undefined;

  socket.on("message", (data, isBinary) => {
    if (isBinary) {
      const before = waiting;
      waiting = undefined;
      if (before === undefined) {
        handlers.onViolation("a body without a response before it");
        return;
      }
      const body = asBuffer(data);
      const violations = [...before.violations, ...bodyViolations(body.byteLength, kind)];
      handlers.onResponse({ head: before.head, body, violations });
      return;
    }
    const message = parseListenerMessage(asBuffer(data).toString("utf8"), kind);
    if (waiting !== undefined)
      handlers.onViolation(`response ${waiting.head.requestId} was not followed by its body`);
    waiting = undefined;
    switch (message.kind) {
      case "response":
        if (message.head.hasBody) waiting = message;
        else handlers.onResponse({ head: message.head, body: NO_BODY, violations: message.violations });
        break;
      case "renewToken":
        if (kind === "control") handlers.onRenewToken(message.token);
        else handlers.onViolation("renewToken on a rendezvous");
        break;
      case "invalid":
        handlers.onViolation(message.reason);
        break;
    }
  });
  raw.on("data", () => {
    if (waiting !== undefined) handlers.onProgress(waiting.head.requestId);
  });
  socket.on("error", (error) => {
    handlers.onViolation(error.message);
  });
  socket.once("close", handlers.onClose);
  return { kind, socket };
}

/** Writes a request header and, if given, its body; on a rendezvous in several fragments, as the service may. */
export function writeRequest(channel: ListenerChannel, text: string, body: Uint8Array | undefined): void {
  channel.socket.send(text);
  if (body === undefined) return;
  const step = channel.kind === "control" ? body.byteLength : 64 * 1024;
  for (let offset = 0; offset < body.byteLength; offset += step) {
    const fin = offset + step >= body.byteLength;
    channel.socket.send(body.subarray(offset, offset + step), { binary: true, fin });
  }
}

/** Writes a request header and half of its body, then cuts the line. */
export function writeCutRequest(channel: ListenerChannel, text: string, body: Uint8Array): void {
  channel.socket.send(text);
  channel.socket.send(body.subarray(0, body.byteLength / 2), { binary: true, fin: false }, () =>
    channel.socket.terminate(),
  );
}

/** Joins two sockets: whatever one gets, the other sends. */
export function join(left: WebSocket, right: WebSocket): void {
  for (const [from, to] of [
    [left, right],
    [right, left],
  ] as const) {
    from.on("message", (data, isBinary) => {
      if (to.readyState === WebSocket.OPEN) to.send(asBuffer(data), { binary: isBinary });
    });
    from.on("error", () => to.terminate());
    from.once("close", () => to.close(1001));
  }
}

function asBuffer(data: RawData): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? Buffer.from(data) : data;
}
