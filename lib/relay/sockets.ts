import type { WebSocket } from "ws";
import { FRAGMENT_BYTES } from "./limits.ts";

/** Writes whole messages to one WebSocket, one after the other, however many callers there are. */
export interface MessageWriter {
  /**
   * Sends a text message and, if there is one, the binary message that belongs to it, with nothing in between.
   * Resolves when the last byte was handed to the operating system, so a slow peer slows the caller down.
   */
  send(text: string, body?: Uint8Array): Promise<void>;
}

export function createMessageWriter(socket: WebSocket): MessageWriter {
  let last: Promise<void> = Promise.resolve();

  async function write(text: string, body: Uint8Array | undefined): Promise<void> {
    await sendPart(socket, text, { binary: false, fin: true });
    if (body === undefined) return;
    let offset = 0;
    do {
      const part = body.subarray(offset, offset + FRAGMENT_BYTES);
      offset += part.byteLength;
      await sendPart(socket, part, { binary: true, fin: offset >= body.byteLength });
    } while (offset < body.byteLength);
  }

  return {
    send(text, body) {
      const sent = last.then(() => write(text, body));
      last = sent.catch(() => undefined);
      return sent;
    },
  };
}

function sendPart(
  socket: WebSocket,
  data: string | Uint8Array,
  options: { binary: boolean; fin: boolean },
): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(data, options, (error) => {
      if (error instanceof Error) reject(error);
      else resolve();
    });
  });
}

/**
 * Pings the peer and terminates the socket when no pong came in time: a connection that an intermediary dropped
 * silently would otherwise look alive for ever.
 *
 * @returns a function that ends the pinging; it ends by itself when the socket closes
 */
export function keepAlive(
  socket: WebSocket,
  options: { readonly intervalMs: number; readonly pongTimeoutMs: number; readonly onSilent: () => void },
): () => void {
  let deadline: NodeJS.Timeout | undefined;
  const interval = setInterval(() => {
    if (deadline !== undefined) return;
    socket.ping(() => undefined);
    deadline = setTimeout(() => {
      // After a blocked event loop the timer comes before the pong that waits in the socket: read that first.
      setImmediate(() => {
        if (deadline === undefined || socket.readyState === socket.CLOSED) return;
        options.onSilent();
        socket.terminate();
      });
    }, options.pongTimeoutMs);
  }, options.intervalMs);
  const stop = () => {
    clearInterval(interval);
    clearTimeout(deadline);
  };
  socket.on("pong", () => {
    clearTimeout(deadline);
    deadline = undefined;
  });
  socket.once("close", stop);
  return stop;
}

/** Closes a socket in good form; a peer that does not answer within two seconds is cut off. */
export async function closeSocket(socket: WebSocket, code: number): Promise<void> {
  if (socket.readyState === socket.CLOSED) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => socket.terminate(), 2_000);
    socket.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
    socket.close(code);
  });
}
