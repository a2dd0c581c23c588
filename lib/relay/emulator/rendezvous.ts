import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { RENDEZVOUS_VALID_MS } from "../limits.ts";

/** A WebSocket handshake that has not been answered yet. */
export type Upgrade = readonly [request: IncomingMessage, socket: Duplex, head: Buffer];

export interface RendezvousEntry {
  readonly action: "request" | "accept";
  /** Takes the listener's handshake; `url` carries a rejection, if any. */
  readonly use: (upgrade: Upgrade, url: URL) => void;
}

/** Addresses that were given to listeners: each works once and for a short while. */
export interface RendezvousBook {
  /** @param path the hybrid connection's path, with a suffix if the sender gave one */
  give(path: string, entry: RendezvousEntry): string;
  /** The entry for a URL that a listener dialled, or undefined when it is unknown, used up or expired. */
  take(url: URL): RendezvousEntry | undefined;
}

export function createRendezvousBook(host: () => string): RendezvousBook {
  const open = new Map<string, RendezvousEntry>();
  return {
    give(path, entry) {
      const id = randomUUID();
      open.set(id, entry);
      setTimeout(() => open.delete(id), RENDEZVOUS_VALID_MS).unref();
      return `ws://${host()}/$hc/${path}?sb-hc-action=${entry.action}&sb-hc-id=${id}`;
    },
    take(url) {
      const id = url.searchParams.get("sb-hc-id") ?? "";
      const entry = open.get(id);
      if (entry?.action !== url.searchParams.get("sb-hc-action")) return undefined;
      open.delete(id);
      return entry;
    },
  };
}
