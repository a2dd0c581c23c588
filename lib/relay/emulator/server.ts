import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";
import { RESPONSE_TIMEOUT_MS } from "../limits.ts";
import { findEntity, type EmulatedConnection, type Entity } from "./entities.ts";
import type { Emulation } from "./emulation.ts";
import { createFaultQueue, type RelayFault } from "./faults.ts";
import { refuseUpgrade } from "./http-forms.ts";
import { createHttpSide } from "./http-side.ts";
import { createPendingRequests } from "./pending.ts";
import { createRendezvousBook } from "./rendezvous.ts";
import { createWebSocketSide } from "./websocket-side.ts";

export interface RelayEmulatorOptions {
  /** Default 0: a free one. */
  readonly port?: number;
  readonly host?: "127.0.0.1" | "::1";
  readonly connections: readonly EmulatedConnection[];
  /** Default 60 s, as the service. */
  readonly responseTimeoutMs?: number;
  /** Largest body in either direction. Default 64 MiB. */
  readonly maxBodyBytes?: number;
  readonly faults?: readonly RelayFault[];
}

export interface RelayEmulator extends AsyncDisposable {
  /** e.g. `http://127.0.0.1:41234`; goes into RelayAddress.endpoint. */
  readonly endpoint: string;
  /** What listeners sent against the protocol, in order. Empty after a correct conversation. */
  readonly violations: readonly string[];
  /** How many of the added faults have not happened yet. */
  readonly waitingFaults: number;
  addFaults(...faults: readonly RelayFault[]): void;
  listenerCount(path: string): number;
  /** Ends every control channel of the path: with a close code of the service, or without one as by a broken line. */
  dropListeners(path: string, closeCode?: 1001 | 1008 | 1011): void;
  close(): Promise<void>;
}

/** Starts the emulator on loopback. Rejects when the port is taken. */
export async function startRelayEmulator(options: RelayEmulatorOptions): Promise<RelayEmulator> {
  const { responseTimeoutMs = RESPONSE_TIMEOUT_MS, maxBodyBytes = 64 * 1024 * 1024 } = options;
  const entities: Entity[] = options.connections.map((connection) => ({ connection, listeners: new Set() }));
  const faults = createFaultQueue(options.faults);
  const violations: string[] = [];
  const onViolation = (reason: string) => void violations.push(reason);
  const sockets = { noServer: true, perMessageDeflate: false, maxPayload: maxBodyBytes } as const;
  const server = createServer();
  const host = () => {
    const { address, port } = server.address() as AddressInfo;
    return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  };
  const emulation: Emulation = {
    entities,
    faults,
    pending: createPendingRequests({ timeoutMs: responseTimeoutMs, host, faults, onViolation }),
    rendezvous: createRendezvousBook(host),
    webSockets: new WebSocketServer(sockets),
    silentWebSockets: new WebSocketServer({ ...sockets, autoPong: false }),
    responseTimeoutMs,
    maxBodyBytes,
    host,
    onViolation,
  };
  server.on("request", createHttpSide(emulation));
  server.on("upgrade", createWebSocketSide(emulation));
  server.on("clientError", (_error, socket) => refuseUpgrade(socket, 400, "Bad Request"));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, options.host ?? "127.0.0.1", resolve);
  });
  const endpoint = `http://${host()}`;

  async function close(): Promise<void> {
    for (const { clients } of [emulation.webSockets, emulation.silentWebSockets]) {
      for (const socket of clients) socket.terminate();
    }
    if (!server.listening) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  return {
    endpoint,
    violations,
    get waitingFaults() {
      return faults.waiting;
    },
    addFaults: (...added) => faults.add(...added),
    listenerCount: (path) => findEntity(emulation.entities, `/${path}`)?.listeners.size ?? 0,
    dropListeners(path, closeCode) {
      for (const { socket } of findEntity(emulation.entities, `/${path}`)?.listeners ?? []) {
        if (closeCode === undefined) socket.terminate();
        else socket.close(closeCode, "dropped by the emulator");
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
