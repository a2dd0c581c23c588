import type { WebSocketServer, WebSocket } from "ws";
import { decideAccess, type AccessDecision } from "./access.ts";
import { openChannel, type ListenerChannel } from "./channels.ts";
import type { Entity } from "./entities.ts";
import type { FaultQueue } from "./faults.ts";
import type { PendingRequests } from "./pending.ts";
import type { RendezvousBook, Upgrade } from "./rendezvous.ts";

/** What the emulator's HTTP side and its WebSocket side share. */
export interface Emulation {
  readonly entities: readonly Entity[];
  readonly faults: FaultQueue;
  readonly pending: PendingRequests;
  readonly rendezvous: RendezvousBook;
  readonly webSockets: WebSocketServer;
  /** The same, but it leaves pings unanswered. */
  readonly silentWebSockets: WebSocketServer;
  readonly responseTimeoutMs: number;
  readonly maxBodyBytes: number;
  /** Host and port under which the emulator is reached. */
  readonly host: () => string;
  readonly onViolation: (reason: string) => void;
}

export function decide(
  emulation: Emulation,
  entity: Entity,
  token: string | undefined,
  right: "Listen" | "Send",
): AccessDecision {
  return decideAccess(entity.connection, token, right, { host: emulation.host(), now: new Date() });
}

/** Makes a socket of a listener a channel whose answers go to the senders that wait for them. */
export function connectChannel(
  emulation: Emulation,
  kind: ListenerChannel["kind"],
  upgrade: Upgrade,
  socket: WebSocket,
  more: { readonly onClose: () => void; readonly onRenewToken?: (token: string) => void },
): ListenerChannel {
  return openChannel(kind, socket, upgrade[1], {
    onResponse: (response) => emulation.pending.settle(response),
    onProgress: (id) => emulation.pending.touch(id),
    onRenewToken: more.onRenewToken ?? (() => undefined),
    onViolation: emulation.onViolation,
    onClose: more.onClose,
  });
}
