import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { BackupError } from "../../errors/index.ts";
import { writeResponse } from "./message.ts";

/** @returns the origin, such as `http://127.0.0.1:7071` @throws BackupError HOST_ADDRESS_IN_USE */
export async function listen(server: Server, host: string, port: number): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      reject(
        new BackupError(
          "HOST_ADDRESS_IN_USE",
          `Can't listen on ${host}:${port} (${error.code ?? error.message}); choose another --port, or stop what listens there.`,
          {
            retry: "after-operator",
            cause: error,
          },
        ),
      );
    });
    server.listen(port, host, resolve);
  });
  const { address, port: actual, family } = server.address() as AddressInfo;
  const shown =
    address === "0.0.0.0" || address === "::" ? "localhost" : family === "IPv6" ? `[${address}]` : address;
  return `http://${shown}:${actual}`;
}

/** The same port by its loopback address. */
export function loopbackOrigin(origin: string): string {
  return origin.replace("//localhost:", "//127.0.0.1:");
}

/** Ends idle connections at once and busy ones after a second. */
export async function closeServer(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => {
      resolve();
    });
    server.closeIdleConnections();
    setTimeout(() => {
      server.closeAllConnections();
    }, 1000).unref();
  });
}

/** While the app loads. */
export function answerNotReady(_: IncomingMessage, outgoing: ServerResponse): void {
  writeResponse(outgoing, { status: 503, headers: [["retry-after", "1"]] });
}
