import { randomInt, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocketServer, type WebSocket } from "ws";
import { CONTROL_MESSAGE_BYTES, MAX_LISTENERS, RENDEZVOUS_VALID_MS, RESPONSE_TIMEOUT_MS } from "../limits.ts";
import type { ChannelKind } from "../messages.ts";
import { decideAccess, type AccessDecision, type AccessPolicy } from "./access.ts";
import { join, openChannel, writeCutRequest, writeRequest, type ListenerChannel } from "./channels.ts";
import { createFaultQueue, type RelayFault } from "./faults.ts";
import {
  forwardedHeaders,
  forwardedTarget,
  readBody,
  reasonPhrase,
  refuseUpgrade,
  requestUrl,
  senderToken,
} from "./http-forms.ts";
import { createPendingRequests, endWith } from "./pending.ts";

/** One hybrid connection of the emulated namespace. */
export interface EmulatedConnection extends AccessPolicy {
  /** Default true; false lets senders in without a token. */
  readonly requiresClientAuthorization?: boolean;
}

export interface RelayEmulatorOptions {
  /** Default 0: a free one. */
  readonly port?: number;
  readonly host?: "127.0.0.1" | "::1";
  readonly connections: readonly EmulatedConnection[];
  /** Default 60 s, as the service. */
  readonly responseTimeoutMs?: number;
  readonly maxBodyBytes?: number;
  readonly faults?: readonly RelayFault[];
}

export interface RelayEmulator extends AsyncDisposable {
  /** e.g. `http://127.0.0.1:41234`; goes into RelayAddress.endpoint. */
  readonly endpoint: string;
  /** What listeners sent against the protocol, in order. Empty after a correct conversation. */
  readonly violations: readonly string[];
  /** Faults that were added and have not happened yet. */
  readonly waitingFaults: number;
  addFaults(...faults: readonly RelayFault[]): void;
  listenerCount(path: string): number;
  /** Ends every control channel of the path: with a close code of the service, or without one as by a broken line. */
  dropListeners(path: string, closeCode?: 1001 | 1008 | 1011): void;
  close(): Promise<void>;
}

interface Entity {
  readonly connection: EmulatedConnection;
  readonly listeners: Set<ListenerChannel>;
}

type Upgrade = readonly [request: IncomingMessage, socket: Duplex, head: Buffer];

/** A rendezvous address that was given out and not used yet. */
interface Rendezvous {
  readonly action: "request" | "accept";
  /** Takes the upgrade; `url` carries a rejection, if any. */
  readonly use: (upgrade: Upgrade, url: URL) => void;
}

/** Starts the emulator on loopback. */
export async function startRelayEmulator(options: RelayEmulatorOptions): Promise<RelayEmulator> {
  const { responseTimeoutMs = RESPONSE_TIMEOUT_MS, maxBodyBytes = 64 * 1024 * 1024 } = options;
  const entities: readonly Entity[] = options.connections.map((connection) => ({
    connection,
    listeners: new Set(),
  }));
  const faults = createFaultQueue(options.faults);
  const violations: string[] = [];
  const onViolation = (reason: string) => void violations.push(reason);
  const rendezvous = new Map<string, Rendezvous>();
  /** A sender's connection that has a rendezvous: its later requests come there too. */
  const kept = new WeakMap<Socket, ListenerChannel>();
  const settings = { noServer: true, perMessageDeflate: false, maxPayload: maxBodyBytes } as const;
  const webSockets = new WebSocketServer(settings);
  const silentWebSockets = new WebSocketServer({ ...settings, autoPong: false });
  const server = createServer((request, response) => {
    onRequest(request, response).catch((error: unknown) => {
      if (!response.destroyed) endWith(response, 500, error instanceof Error ? error.message : "failed");
    });
  });
  const host = () => {
    const { address, port } = server.address() as AddressInfo;
    return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  };
  const pending = createPendingRequests({ timeoutMs: responseTimeoutMs, host, faults, onViolation });

  function findEntity(pathname: string): Entity | undefined {
    const path = `${pathname.toLowerCase()}/`;
    return entities
      .filter(({ connection }) => path.startsWith(`/${connection.path.toLowerCase()}/`))
      .sort((a, b) => b.connection.path.length - a.connection.path.length)[0];
  }

  function decide(entity: Entity, token: string | undefined, right: "Listen" | "Send"): AccessDecision {
    return decideAccess(entity.connection, token, right, { host: host(), now: new Date() });
  }

  function pickListener(entity: Entity): ListenerChannel | undefined {
    const all = [...entity.listeners];
    return all.length === 0 ? undefined : all[randomInt(all.length)];
  }

  function channelOf(
    kind: ChannelKind,
    upgrade: Upgrade,
    socket: WebSocket,
    more: ChannelMore,
  ): ListenerChannel {
    return openChannel(kind, socket, upgrade[1], {
      onResponse: (response) => pending.settle(response),
      onProgress: (id) => pending.touch(id),
      onRenewToken: more.onRenewToken ?? (() => undefined),
      onViolation,
      onClose: more.onClose,
    });
  }

  /** Gives out an address that works once and for a short while. */
  function addressFor(entity: Entity, suffix: string, entry: Rendezvous): string {
    const id = randomUUID();
    rendezvous.set(id, entry);
    setTimeout(() => rendezvous.delete(id), RENDEZVOUS_VALID_MS).unref();
    return `ws://${host()}/$hc/${entity.connection.path}${suffix}?sb-hc-action=${entry.action}&sb-hc-id=${id}`;
  }

  async function onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = requestUrl(request);
    const entity = url === undefined ? undefined : findEntity(url.pathname);
    if (url === undefined || entity === undefined) {
      endWith(response, 404, "no such hybrid connection");
      return;
    }
    const { token, isInAuthorization } = senderToken(request, url);
    const needsToken = entity.connection.requiresClientAuthorization ?? true;
    if (needsToken) {
      const decision = decide(entity, token, "Send");
      if (!decision.isGranted) {
        endWith(response, decision.status, decision.reason);
        return;
      }
    }
    const body = await readBody(request, maxBodyBytes);
    if (body === undefined) {
      endWith(response, 413, "the emulator takes no larger bodies");
      return;
    }
    const delay = faults.take("delay-request");
    if (delay !== undefined) await sleep(delay.delayMs);

    const head = {
      id: randomUUID(),
      requestTarget: forwardedTarget(url),
      method: request.method ?? "GET",
      requestHeaders: forwardedHeaders(request, {
        host: host(),
        dropAuthorization: needsToken && isInAuthorization,
      }),
      body: body.byteLength > 0,
    };
    const keptChannel = kept.get(request.socket);
    if (keptChannel !== undefined) {
      pending.add(head.id, response);
      sendRequest(keptChannel, JSON.stringify({ request: head }), body);
      return;
    }
    const listener = pickListener(entity);
    if (listener === undefined) {
      endWith(response, 502, "no listener is connected");
      return;
    }
    pending.add(head.id, response);
    route(entity, listener, request, head, body);
  }

  /** Puts a request on the control channel, or only the address of a rendezvous when it is too large for it. */
  function route(
    entity: Entity,
    listener: ListenerChannel,
    request: IncomingMessage,
    head: RequestHead,
    body: Buffer,
  ): void {
    const isChunked = request.headers["transfer-encoding"] !== undefined;
    const headBytes = Buffer.byteLength(JSON.stringify(head)) + 1024;
    const isLarge = isChunked || headBytes + body.byteLength > CONTROL_MESSAGE_BYTES;
    const address = addressFor(entity, "", {
      action: "request",
      use: (upgrade) => {
        webSockets.handleUpgrade(...upgrade, (socket) => {
          const channel = channelOf("rendezvous", upgrade, socket, {
            onClose: () => {
              kept.delete(request.socket);
              request.socket.destroySoon(); // "the service will also drop the connection to the sender"
            },
          });
          kept.set(request.socket, channel);
          request.socket.once("close", () => socket.close(1001, "the sender closed its connection"));
          if (isLarge) sendRequest(channel, JSON.stringify({ request: head }), body);
        });
      },
    });
    const injected = faults.take("inject-frame");
    if (injected !== undefined) listener.socket.send(injected.data);
    if (isLarge) listener.socket.send(JSON.stringify({ request: { address } }));
    else sendRequest(listener, JSON.stringify({ request: { address, ...head } }), body);
    if (faults.take("drop-control") !== undefined) {
      entity.listeners.delete(listener);
      listener.socket.ping("", undefined, () => listener.socket.terminate());
    }
  }

  function sendRequest(channel: ListenerChannel, text: string, body: Buffer): void {
    const sentBody = body.byteLength > 0 ? body : undefined;
    if (sentBody !== undefined && faults.take("cut-request-body") !== undefined) {
      writeCutRequest(channel, text, sentBody);
      return;
    }
    writeRequest(channel, text, sentBody);
    if (faults.take("duplicate-request") !== undefined) writeRequest(channel, text, sentBody);
  }

  function onUpgrade(...upgrade: Upgrade): void {
    const [request, socket] = upgrade;
    socket.on("error", () => undefined);
    const url = requestUrl(request);
    const entity =
      url?.pathname.startsWith("/$hc/") === true ? findEntity(url.pathname.slice("/$hc".length)) : undefined;
    if (url === undefined || entity === undefined) {
      refuseUpgrade(socket, 404, "no such hybrid connection");
      return;
    }
    switch (url.searchParams.get("sb-hc-action")) {
      case "listen":
        onListen(entity, upgrade, url);
        break;
      case "connect":
        onConnect(entity, upgrade, url);
        break;
      case "request":
      case "accept":
        onRendezvous(upgrade, url);
        break;
      case null:
      default:
        refuseUpgrade(socket, 400, "unrecognized action");
    }
  }

  function onListen(entity: Entity, upgrade: Upgrade, url: URL): void {
    const [request, raw] = upgrade;
    const fault = faults.take("refuse-listen");
    if (fault !== undefined) {
      refuseUpgrade(raw, fault.status, "refused by a fault of the emulator");
      return;
    }
    const decision = decide(entity, senderToken(request, url).token, "Listen");
    if (!decision.isGranted) {
      refuseUpgrade(raw, decision.status, decision.reason);
      return;
    }
    if (entity.listeners.size >= MAX_LISTENERS) {
      refuseUpgrade(raw, 429, "too many listeners");
      return;
    }

    const sockets = faults.take("ignore-pings") === undefined ? webSockets : silentWebSockets;
    sockets.handleUpgrade(...upgrade, (socket) => {
      let expiry = expireAt(socket, decision.expiresAt);
      const channel = channelOf("control", upgrade, socket, {
        onRenewToken: (token) => {
          clearTimeout(expiry);
          const renewed = decide(entity, token, "Listen");
          if (renewed.isGranted) expiry = expireAt(socket, renewed.expiresAt);
          else socket.close(1008, reasonPhrase(renewed.reason).slice(0, 100));
        },
        onClose: () => {
          clearTimeout(expiry);
          entity.listeners.delete(channel);
        },
      });
      entity.listeners.add(channel);
    });
  }

  function onConnect(entity: Entity, upgrade: Upgrade, url: URL): void {
    const [request, raw] = upgrade;
    const { token, isInAuthorization } = senderToken(request, url);
    if (entity.connection.requiresClientAuthorization ?? true) {
      const decision = decide(entity, token, "Send");
      if (!decision.isGranted) {
        refuseUpgrade(raw, decision.status, decision.reason);
        return;
      }
    }
    const listener = pickListener(entity);
    if (listener === undefined) {
      refuseUpgrade(raw, 502, "no listener is connected");
      return;
    }
    const suffix = url.pathname.slice(`/$hc/${entity.connection.path}`.length);
    const tooLate = setTimeout(
      () => refuseUpgrade(raw, 504, "no listener accepted in time"),
      responseTimeoutMs,
    );
    const address = addressFor(entity, suffix, {
      action: "accept",
      use: (accepting, acceptUrl) => {
        clearTimeout(tooLate);
        const status = Number(acceptUrl.searchParams.get("sb-hc-statusCode") ?? "0");
        if (status !== 0) {
          refuseUpgrade(raw, status, acceptUrl.searchParams.get("sb-hc-statusDescription") ?? "");
          refuseUpgrade(accepting[1], 410, "rejected as wanted");
          return;
        }
        webSockets.handleUpgrade(...accepting, (theirs) => {
          webSockets.handleUpgrade(...upgrade, (ours) => join(theirs, ours));
        });
      },
    });
    const connectHeaders = forwardedHeaders(request, { host: host(), dropAuthorization: isInAuthorization });
    listener.socket.send(JSON.stringify({ accept: { address, id: randomUUID(), connectHeaders } }));
  }

  function onRendezvous(upgrade: Upgrade, url: URL): void {
    const id = url.searchParams.get("sb-hc-id") ?? "";
    const entry = rendezvous.get(id);
    const fault = faults.take("refuse-rendezvous");
    if (fault !== undefined) {
      refuseUpgrade(upgrade[1], fault.status, "refused by a fault of the emulator");
      return;
    }
    if (entry?.action !== url.searchParams.get("sb-hc-action")) {
      refuseUpgrade(upgrade[1], 403, "the address is not valid, used up or expired");
      return;
    }
    rendezvous.delete(id);
    entry.use(upgrade, url);
  }

  server.on("upgrade", onUpgrade);
  server.on("clientError", (_error, socket) => refuseUpgrade(socket, 400, "Bad Request"));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, options.host ?? "127.0.0.1", resolve);
  });

  async function close(): Promise<void> {
    for (const socket of [...webSockets.clients, ...silentWebSockets.clients]) socket.terminate();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  return {
    endpoint: `http://${host()}`,
    violations,
    get waitingFaults() {
      return faults.waiting;
    },
    addFaults: (...added) => faults.add(...added),
    listenerCount: (path) => findEntity(`/${path}`)?.listeners.size ?? 0,
    dropListeners(path, closeCode) {
      for (const { socket } of findEntity(`/${path}`)?.listeners ?? []) {
        if (closeCode === undefined) socket.terminate();
        else socket.close(closeCode, "dropped by the emulator");
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

interface ChannelMore {
  readonly onClose: () => void;
  readonly onRenewToken?: (token: string) => void;
}

interface RequestHead {
  readonly id: string;
  readonly requestTarget: string;
  readonly method: string;
  readonly requestHeaders: Readonly<Record<string, string>>;
  readonly body: boolean;
}

/** Closes a control channel when its token runs out, as the service does. */
function expireAt(socket: WebSocket, expiresAt: Date): NodeJS.Timeout {
  const leftMs = Math.min(expiresAt.getTime() - Date.now(), 2 ** 31 - 1);
  return setTimeout(() => socket.close(1008, "the token has expired"), leftMs).unref();
}
