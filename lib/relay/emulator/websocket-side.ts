import { randomUUID } from "node:crypto";
import type { WebSocket } from "ws";
import { MAX_LISTENERS } from "../limits.ts";
import { join } from "./channels.ts";
import { connectChannel, decide, type Emulation } from "./emulation.ts";
import { findEntity, needsSenderToken, pickListener, type Entity } from "./entities.ts";
import { forwardedHeaders, reasonPhrase, refuseUpgrade, requestUrl, senderToken } from "./http-forms.ts";
import type { Upgrade } from "./rendezvous.ts";

/** Takes WebSocket handshakes under `/$hc/`: control channels, rendezvous sockets and WebSocket senders. */
export function createWebSocketSide(emulation: Emulation): (...upgrade: Upgrade) => void {
  const { faults, rendezvous, webSockets } = emulation;

  function onListen(entity: Entity, upgrade: Upgrade, url: URL): void {
    const [request, raw] = upgrade;
    const fault = faults.take("refuse-listen");
    const access = decide(emulation, entity, senderToken(request, url).token, "Listen");
    if (fault !== undefined) refuseUpgrade(raw, fault.status, "refused by a fault of the emulator");
    else if (!access.isGranted) refuseUpgrade(raw, access.status, access.reason);
    else if (entity.listeners.size >= MAX_LISTENERS) refuseUpgrade(raw, 429, "too many listeners");
    else acceptListener(entity, upgrade, access.expiresAt);
  }

  function acceptListener(entity: Entity, upgrade: Upgrade, tokenExpiresAt: Date): void {
    const sockets = faults.take("ignore-pings") === undefined ? webSockets : emulation.silentWebSockets;
    sockets.handleUpgrade(...upgrade, (socket) => {
      let expiry = expireAt(socket, tokenExpiresAt);
      const channel = connectChannel(emulation, "control", upgrade, socket, {
        onRenewToken: (token) => {
          clearTimeout(expiry);
          const renewed = decide(emulation, entity, token, "Listen");
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
    const access = needsSenderToken(entity) ? decide(emulation, entity, token, "Send") : undefined;
    const listener = pickListener(entity);
    if (access?.isGranted === false) {
      refuseUpgrade(raw, access.status, access.reason);
      return;
    }
    if (listener === undefined) {
      refuseUpgrade(raw, 502, "no listener is connected");
      return;
    }
    const tooLate = setTimeout(
      () => refuseUpgrade(raw, 504, "no listener accepted in time"),
      emulation.responseTimeoutMs,
    );
    const suffix = url.pathname.slice(`/$hc/${entity.connection.path}`.length);
    const address = rendezvous.give(`${entity.connection.path}${suffix}`, {
      action: "accept",
      use: (accepting, acceptUrl) => {
        clearTimeout(tooLate);
        meet(upgrade, accepting, acceptUrl);
      },
    });
    const connectHeaders = forwardedHeaders(request, {
      host: emulation.host(),
      dropAuthorization: isInAuthorization,
    });
    listener.socket.send(JSON.stringify({ accept: { address, id: randomUUID(), connectHeaders } }));
  }

  /** Joins a WebSocket sender with the listener that accepts it, or passes the listener's rejection on. */
  function meet(sender: Upgrade, listener: Upgrade, url: URL): void {
    const status = Number(url.searchParams.get("sb-hc-statusCode") ?? "0");
    if (status !== 0) {
      refuseUpgrade(sender[1], status, url.searchParams.get("sb-hc-statusDescription") ?? "");
      refuseUpgrade(listener[1], 410, "rejected as wanted");
      return;
    }
    webSockets.handleUpgrade(...listener, (theirs) => {
      webSockets.handleUpgrade(...sender, (ours) => join(theirs, ours));
    });
  }

  function onRendezvous(upgrade: Upgrade, url: URL): void {
    const fault = faults.take("refuse-rendezvous");
    const entry = rendezvous.take(url);
    if (fault !== undefined) refuseUpgrade(upgrade[1], fault.status, "refused by a fault of the emulator");
    else if (entry === undefined)
      refuseUpgrade(upgrade[1], 403, "the address is unknown, used up or expired");
    else entry.use(upgrade, url);
  }

  return (...upgrade) => {
    const [request, socket] = upgrade;
    socket.on("error", () => undefined);
    const url = requestUrl(request);
    const path = url?.pathname.startsWith("/$hc/") === true ? url.pathname.slice("/$hc".length) : undefined;
    const entity = path === undefined ? undefined : findEntity(emulation.entities, path);
    if (url === undefined || entity === undefined) {
      refuseUpgrade(socket, 404, "no such hybrid connection");
      return;
    }
    const action = url.searchParams.get("sb-hc-action");
    if (action === "listen") onListen(entity, upgrade, url);
    else if (action === "connect") onConnect(entity, upgrade, url);
    else if (action === "request" || action === "accept") onRendezvous(upgrade, url);
    else refuseUpgrade(socket, 400, "unrecognized action");
  };
}

/** Closes a control channel when its token runs out, as the service does. */
function expireAt(socket: WebSocket, expiresAt: Date): NodeJS.Timeout {
  const leftMs = Math.min(expiresAt.getTime() - Date.now(), 2 ** 31 - 1);
  return setTimeout(() => socket.close(1008, "the token has expired"), leftMs).unref();
}
