import { createServer, type IncomingMessage } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";

/** One socket that a listener opened, with everything that it sent. */
export interface RawChannel {
  readonly url: URL;
  readonly headers: IncomingMessage["headers"];
  readonly socket: WebSocket;
  readonly raw: Duplex;
  /** Text messages parsed from JSON, binary ones as they are. */
  readonly received: (Buffer | Record<string, unknown>)[];
  readonly pings: number;
  /** The next message that was not taken yet. */
  next(): Promise<Buffer | Record<string, unknown>>;
  closed: Promise<number>;
}

/**
 * The service's side of the protocol, written frame by frame from its documentation and without the emulator: it
 * accepts every WebSocket and leaves the talking to the test.
 */
export interface RawService extends AsyncDisposable {
  readonly endpoint: string;
  readonly host: string;
  /** The next WebSocket that a listener opens. */
  accept(): Promise<RawChannel>;
  /** Sockets that were opened and not taken by `accept` yet. */
  readonly opened: number;
  /** Answers the next handshake with this status instead; resolves with its URL. */
  refuse(status: number): Promise<URL>;
}

export async function startRawService(
  options: {
    readonly autoPong?: boolean;
    readonly tls?: { readonly key: string; readonly cert: string };
  } = {},
): Promise<RawService> {
  const server = options.tls === undefined ? createServer() : createTlsServer(options.tls);
  const webSockets = new WebSocketServer({ noServer: true, autoPong: options.autoPong ?? true });
  const channels = createQueue<RawChannel>();
  const refusals: { status: number; done: (url: URL) => void }[] = [];
  server.on("upgrade", (request, raw, head) => {
    const url = new URL(request.url ?? "", "ws://service.invalid");
    const refusal = refusals.shift();
    if (refusal !== undefined) {
      raw.end(`HTTP/1.1 ${refusal.status} Refused. TrackingId:t-1\r\nContent-Length: 0\r\n\r\n`);
      refusal.done(url);
      return;
    }
    webSockets.handleUpgrade(request, raw, head, (socket) => channels.push(track(socket, request, raw, url)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    endpoint: `${options.tls === undefined ? "http" : "https"}://${host}`,
    host,
    accept: () => channels.take(),
    get opened() {
      return channels.length;
    },
    refuse: (status) => new Promise((done) => refusals.push({ status, done })),
    async [Symbol.asyncDispose]() {
      for (const socket of webSockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function track(socket: WebSocket, request: IncomingMessage, raw: Duplex, url: URL): RawChannel {
  const messages = createQueue<Buffer | Record<string, unknown>>();
  const received: (Buffer | Record<string, unknown>)[] = [];
  let pings = 0;
  socket.on("ping", () => (pings += 1));
  socket.on("error", () => undefined);
  socket.on("message", (data, isBinary) => {
    const bytes = data as Buffer;
    const message = isBinary ? bytes : (JSON.parse(bytes.toString("utf8")) as Record<string, unknown>);
    received.push(message);
    messages.push(message);
  });
  return {
    url,
    headers: request.headers,
    socket,
    raw,
    received,
    get pings() {
      return pings;
    },
    next: () => messages.take(),
    closed: new Promise((resolve) => socket.once("close", resolve)),
  };
}

function createQueue<T>() {
  const items: T[] = [];
  const takers: ((item: T) => void)[] = [];
  return {
    get length() {
      return items.length;
    },
    push(item: T) {
      const taker = takers.shift();
      if (taker === undefined) items.push(item);
      else taker(item);
    },
    take: () =>
      new Promise<T>((resolve) => {
        const item = items.shift();
        if (item === undefined) takers.push(resolve);
        else resolve(item);
      }),
  };
}
