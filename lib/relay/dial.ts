import type { Agent } from "node:http";
import { rootCertificates } from "node:tls";
import { WebSocket } from "ws";
import type { RelayAddress } from "./address.ts";
import { serviceRefusal, unreachable } from "./service-errors.ts";

/** How the sockets of a listener are opened; for hosts behind a proxy or with their own certificate authority. */
export interface ConnectOptions {
  /** e.g. a proxy agent. */
  readonly agent?: Agent;
  /** A PEM certificate authority to trust besides those that come with Node.js. */
  readonly ca?: string;
}

export interface Dialling {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly maxMessageBytes: number;
  readonly handshakeTimeoutMs: number;
  readonly connect: ConnectOptions;
  /** Called before the handshake, so that a message that comes with it is not lost. */
  readonly prepare?: (socket: WebSocket) => void;
  readonly signal: AbortSignal;
}

/**
 * Opens a WebSocket to the relay service.
 *
 * @throws BackupError RELAY_TOKEN_REFUSED, RELAY_FORBIDDEN, RELAY_NOT_FOUND, RELAY_SERVICE_FAILED or RELAY_UNREACHABLE
 */
export function dial(address: RelayAddress, dialling: Dialling): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const { signal } = dialling;
    const { agent, ca } = dialling.connect;
    if (signal.aborted) {
      reject(unreachable(address, signal.reason));
      return;
    }
    const socket = new WebSocket(dialling.url, {
      headers: { ...dialling.headers },
      perMessageDeflate: false,
      followRedirects: false,
      maxPayload: dialling.maxMessageBytes,
      handshakeTimeout: dialling.handshakeTimeoutMs,
      ...(agent === undefined ? {} : { agent }),
      ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }),
    });
    const abort = () => socket.terminate();
    const settle = () => signal.removeEventListener("abort", abort);
    signal.addEventListener("abort", abort, { once: true });
    socket.once("open", () => {
      settle();
      resolve(socket);
    });
    // Stays for the socket's life: an error without a listener would end the process. "close" always follows it.
    socket.on("error", (error) => {
      settle();
      reject(unreachable(address, error));
    });
    socket.once("unexpected-response", (request, response) => {
      settle();
      response.resume();
      request.destroy();
      reject(serviceRefusal(response.statusCode ?? 0, "Listen", address, response.statusMessage));
    });
    dialling.prepare?.(socket);
  });
}
