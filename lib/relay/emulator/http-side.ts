import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { CONTROL_MESSAGE_BYTES } from "../limits.ts";
import { writeCutRequest, writeRequest, type ListenerChannel } from "./channels.ts";
import { connectChannel, decide, type Emulation } from "./emulation.ts";
import { findEntity, needsSenderToken, pickListener, type Entity } from "./entities.ts";
import { forwardedHeaders, forwardedTarget, readBody, requestUrl, senderToken } from "./http-forms.ts";
import { endWith } from "./pending.ts";

interface RequestHead {
  readonly id: string;
  readonly requestTarget: string;
  readonly method: string;
  readonly requestHeaders: Readonly<Record<string, string>>;
  readonly body: boolean;
}

/** Room for the rendezvous address, which counts towards the 64 kB as well. */
const ADDRESS_BYTES = 1024;

/** Takes HTTP requests of senders and passes them to a listener. */
export function createHttpSide(
  emulation: Emulation,
): (request: IncomingMessage, response: ServerResponse) => void {
  const { faults, pending, rendezvous, host } = emulation;
  /** A sender's connection that has a rendezvous: its later requests come there too. */
  const kept = new WeakMap<Socket, ListenerChannel>();

  async function onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = requestUrl(request);
    const entity = url === undefined ? undefined : findEntity(emulation.entities, url.pathname);
    if (url === undefined || entity === undefined) {
      endWith(response, 404, "no such hybrid connection");
      return;
    }
    const { token, isInAuthorization } = senderToken(request, url);
    const needsToken = needsSenderToken(entity);
    const access = needsToken ? decide(emulation, entity, token, "Send") : undefined;
    if (access?.isGranted === false) {
      endWith(response, access.status, access.reason);
      return;
    }
    const body = await readBody(request, emulation.maxBodyBytes);
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
    const channel = kept.get(request.socket);
    const listener = channel ?? pickListener(entity);
    if (listener === undefined) {
      endWith(response, 502, "no listener is connected");
      return;
    }
    pending.add(head.id, response);
    if (channel === undefined) route(entity, listener, request, head, body);
    else sendRequest(channel, JSON.stringify({ request: head }), body);
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
    const headBytes = Buffer.byteLength(JSON.stringify(head)) + ADDRESS_BYTES;
    const isLarge = isChunked || headBytes + body.byteLength > CONTROL_MESSAGE_BYTES;
    const onRendezvous = (channel: ListenerChannel) => {
      kept.set(request.socket, channel);
      request.socket.once("close", () => channel.socket.close(1001, "the sender closed its connection"));
      if (isLarge) sendRequest(channel, JSON.stringify({ request: head }), body);
    };
    const address = offerRendezvous(entity, request.socket, onRendezvous);
    const injected = faults.take("inject-frame");
    if (injected !== undefined) listener.socket.send(injected.data);
    if (isLarge) listener.socket.send(JSON.stringify({ request: { address } }));
    else sendRequest(listener, JSON.stringify({ request: { address, ...head } }), body);
    if (faults.take("drop-control") !== undefined) {
      entity.listeners.delete(listener);
      listener.socket.ping("", undefined, () => listener.socket.terminate()); // once all before it was written
    }
  }

  function offerRendezvous(
    entity: Entity,
    sender: Socket,
    onRendezvous: (channel: ListenerChannel) => void,
  ): string {
    return rendezvous.give(entity.connection.path, {
      action: "request",
      use: (upgrade) => {
        emulation.webSockets.handleUpgrade(...upgrade, (socket) => {
          // "The service will also drop the connection to the sender" when the listener drops the rendezvous.
          const onClose = () => sender.destroySoon();
          onRendezvous(connectChannel(emulation, "rendezvous", upgrade, socket, { onClose }));
        });
      },
    });
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

  return (request, response) => {
    onRequest(request, response).catch((error: unknown) => {
      endWith(response, 500, error instanceof Error ? error.message : "failed");
    });
  };
}
