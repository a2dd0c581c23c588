import { WebSocket, type RawData } from "ws";
import { BackupError, toErrorDocument } from "../errors/index.ts";
import { isRendezvousAllowed, localTarget, type RelayAddress } from "./address.ts";
import { errorResponse, type Answering, type PreparedResponse } from "./answering.ts";
import { dial, type ConnectOptions } from "./dial.ts";
import { CONTROL_HEADER_BYTES, CONTROL_MESSAGE_BYTES } from "./limits.ts";
import { createMessageReader, type ChannelEvent, type ReceivedRequest } from "./message-reader.ts";
import { formatResponse, type ChannelKind } from "./messages.ts";
import { closeSocket, createMessageWriter, keepAlive, type MessageWriter } from "./sockets.ts";
import type { RelayLog } from "./types.ts";

export interface ExchangeOptions {
  readonly address: RelayAddress;
  readonly answering: Answering;
  readonly maxBodyBytes: number;
  readonly handshakeTimeoutMs: number;
  readonly pingIntervalMs: number;
  readonly pongTimeoutMs: number;
  readonly connect: ConnectOptions;
  readonly log: RelayLog;
}

/** Requests and responses over the control channel and over rendezvous sockets. */
export interface Exchange {
  /** Serves the requests of a control channel. Call it before the socket's handshake. */
  attachControl(socket: WebSocket): void;
  /** Resolves when no request waits for its answer. */
  idle(): Promise<void>;
  /** Aborts the handlers that still run; their senders get an error answer. */
  abort(): void;
  /** Closes every rendezvous socket. */
  close(): Promise<void>;
}

/** Slack over the body limit: a body in this zone is still read, so that its sender gets a 413 instead of a cut line. */
const OVERSIZE_READ_BYTES = 1024 * 1024;

/** One open socket, and how answers go back on it. */
interface Channel {
  readonly kind: ChannelKind;
  readonly socket: WebSocket;
  readonly writer: MessageWriter;
  /** Aborted when nobody can receive an answer any more. */
  readonly gone: AbortSignal;
}

/** Where an answer goes. */
interface ReplyTo {
  readonly id: string;
  readonly address: string | undefined;
}

export function createExchange(options: ExchangeOptions): Exchange {
  const { address, answering, log } = options;
  const stopped = new AbortController();
  /** Open rendezvous sockets, each with what tells its handlers that the sender is gone. */
  const rendezvous = new Map<WebSocket, AbortController>();
  /** Ids whose handler runs or whose answer is on its way. */
  const inHand = new Set<string>();
  let waiters: (() => void)[] = [];
  let active = 0;

  /** Counts work that a graceful close has to wait for, and keeps its failure from the process. */
  function track(work: Promise<void>): void {
    active += 1;
    void work
      .catch((error: unknown) =>
        log("warn", toErrorDocument(error).message, { code: toErrorDocument(error).code }),
      )
      .finally(() => {
        active -= 1;
        if (active > 0) return;
        waiters.forEach((resolve) => resolve());
        waiters = [];
      });
  }

  function attach(channel: Channel): void {
    const reader = createMessageReader(channel.kind, { maxBodyBytes: options.maxBodyBytes });
    channel.socket.on("message", (data, isBinary) => {
      for (const event of reader.push(asBytes(data), isBinary)) onEvent(channel, event);
    });
  }

  function onEvent(channel: Channel, event: ChannelEvent): void {
    switch (event.kind) {
      case "request":
        track(serve(channel, event.request));
        break;
      case "rendezvous":
        track(openRendezvous(event.address).then(() => undefined));
        break;
      case "accept":
        track(rejectAccept(event.address, event.id));
        break;
      case "unknown":
        log("debug", "the relay sent a command that this version does not know; it was passed over", {
          command: event.names,
        });
        break;
      case "violation": {
        const { error, answer } = event;
        log("warn", error.message, { code: error.code, channel: channel.kind });
        if (answer !== undefined) track(deliver(channel, answer, errorResponse(error, answer.status)));
        break;
      }
    }
  }

  async function serve(channel: Channel, request: ReceivedRequest): Promise<void> {
    const { id, method, requestTarget, headers, body } = request;
    if (inHand.has(id)) {
      log("warn", "a relay request came twice; the first one is being answered", { id });
      return;
    }
    inHand.add(id);
    try {
      const target = localTarget(address, requestTarget);
      const response =
        target === undefined
          ? errorResponse(
              new BackupError("INPUT_INVALID", `${requestTarget} is not under ${address.path}`),
              404,
            )
          : await answering.answer({ id, method, target, headers, body }, channel.gone);
      await deliver(channel, request, response);
    } finally {
      inHand.delete(id);
    }
  }

  /** Answers on the channel that the request came on, or on a new rendezvous when it is too large or the channel is gone. */
  async function deliver(channel: Channel, to: ReplyTo, response: PreparedResponse): Promise<void> {
    const { status, headers, body } = response;
    const hasBody = body.byteLength > 0;
    const text = formatResponse({ requestId: to.id, status, headers, hasBody });
    const send = (writer: MessageWriter) => writer.send(text, hasBody ? body : undefined);
    try {
      if (channel.kind === "rendezvous") {
        await send(channel.writer);
        return;
      }
      if (fitsControl(text, body) && channel.socket.readyState === WebSocket.OPEN) {
        const sent = await send(channel.writer).then(
          () => true,
          () => false,
        );
        if (sent) return;
      }
      if (to.address === undefined)
        throw new Error("the channel is gone, and there is no rendezvous address");
      await send((await openRendezvous(to.address)).writer);
    } catch (cause) {
      throw new BackupError(
        "RELAY_RESPONSE_UNDELIVERED",
        `the answer to request ${to.id} could not be delivered; its sender has to ask again`,
        { retry: "later", facts: { id: to.id, status }, cause },
      );
    }
  }

  /** Opens a rendezvous socket and serves it until the service closes it: later requests of the same sender come on it. */
  async function openRendezvous(url: string): Promise<Channel> {
    checkRendezvous(url);
    const closed = new AbortController();
    const opened: { channel?: Channel } = {};
    const socket = await dial(address, {
      url,
      maxMessageBytes: options.maxBodyBytes + OVERSIZE_READ_BYTES,
      handshakeTimeoutMs: options.handshakeTimeoutMs,
      connect: options.connect,
      signal: stopped.signal,
      prepare: (socket) => {
        opened.channel = {
          kind: "rendezvous",
          socket,
          writer: createMessageWriter(socket),
          gone: closed.signal,
        };
        rendezvous.set(socket, closed);
        attach(opened.channel);
        socket.once("close", () => {
          rendezvous.delete(socket);
          closed.abort(new BackupError("CANCELLED", "the sender closed its connection", { retry: "later" }));
        });
      },
    });
    keepAlive(socket, {
      intervalMs: options.pingIntervalMs,
      pongTimeoutMs: options.pongTimeoutMs,
      onSilent: () => log("warn", "a rendezvous socket went silent; it was closed"),
    });
    if (opened.channel === undefined) throw new Error("unreachable: prepare runs before the handshake");
    return opened.channel;
  }

  /** Declines a WebSocket sender. By design of the protocol the handshake then fails with 410. */
  async function rejectAccept(url: string, id: string): Promise<void> {
    checkRendezvous(url);
    // Appended as text: the address has to stay as it came, and URLSearchParams would write its query anew.
    const description = encodeURIComponent("This agent takes HTTPS requests only");
    const rejection = `${url}${url.includes("?") ? "&" : "?"}sb-hc-statusCode=501&sb-hc-statusDescription=${description}`;
    log("info", "a WebSocket sender was declined; the agent takes HTTPS requests only", { id });
    const socket = await dial(address, {
      url: rejection,
      maxMessageBytes: 1024,
      handshakeTimeoutMs: options.handshakeTimeoutMs,
      connect: options.connect,
      signal: stopped.signal,
    }).catch(() => undefined);
    socket?.terminate();
  }

  function checkRendezvous(url: string): void {
    if (isRendezvousAllowed(address, url)) return;
    throw new BackupError(
      "RELAY_MESSAGE_INVALID",
      `a message named a rendezvous address that does not belong to ${address.endpoint}; it was refused`,
    );
  }

  return {
    attachControl(socket) {
      attach({ kind: "control", socket, writer: createMessageWriter(socket), gone: stopped.signal });
    },
    async idle() {
      if (active > 0) await new Promise<void>((resolve) => waiters.push(resolve));
    },
    abort() {
      const reason = new BackupError("RELAY_BUSY", "the agent was shut down; send the request again", {
        retry: "later",
      });
      stopped.abort(reason);
      for (const closed of rendezvous.values()) closed.abort(reason);
    },
    async close() {
      await Promise.all([...rendezvous.keys()].map((socket) => closeSocket(socket, 1000)));
    },
  };
}

function fitsControl(text: string, body: Uint8Array): boolean {
  const headBytes = Buffer.byteLength(text);
  return headBytes <= CONTROL_HEADER_BYTES && headBytes + body.byteLength <= CONTROL_MESSAGE_BYTES;
}

function asBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}
