import { STATUS_CODES, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { withoutRelayParameters } from "../address.ts";
import { isHopByHop } from "../headers.ts";

/** The URL of a request line, or undefined when it is not one that the relay serves. */
export function requestUrl(request: IncomingMessage): URL | undefined {
  const text = request.url ?? "";
  if (!text.startsWith("/") || text.startsWith("//")) return undefined;
  return URL.canParse(`http://relay.invalid${text}`) ? new URL(`http://relay.invalid${text}`) : undefined;
}

/** The request target as it goes to the listener: without `sb-hc-` parameters. */
export function forwardedTarget(url: URL): string {
  return `${url.pathname}${withoutRelayParameters(url.search)}`;
}

/** Where a sender put its token, and which header must therefore not be forwarded. */
export function senderToken(
  request: IncomingMessage,
  url: URL,
): { readonly token: string | undefined; readonly isInAuthorization: boolean } {
  const header = request.headers["servicebusauthorization"];
  const token = url.searchParams.get("sb-hc-token") ?? (typeof header === "string" ? header : undefined);
  if (token !== undefined) return { token, isInAuthorization: false };
  const { authorization } = request.headers;
  return { token: authorization, isInAuthorization: authorization !== undefined };
}

/** Headers for the listener: no hop-by-hop ones, no relay token, and a `Via` of the relay; spelling as the sender's. */
export function forwardedHeaders(
  request: IncomingMessage,
  options: { readonly host: string; readonly dropAuthorization: boolean },
): Record<string, string> {
  const headers = Object.create(null) as Record<string, string>;
  const names = new Map<string, string>();
  for (let index = 0; index + 1 < request.rawHeaders.length; index += 2) {
    const name = request.rawHeaders[index] ?? "";
    const value = request.rawHeaders[index + 1] ?? "";
    const key = name.toLowerCase();
    if (isHopByHop(key) || key === "servicebusauthorization") continue;
    if (key === "authorization" && options.dropAuthorization) continue;
    const known = names.get(key);
    if (known === undefined) names.set(key, name);
    const before = headers[known ?? name];
    headers[known ?? name] = before === undefined ? value : `${before}, ${value}`;
  }
  const via = names.get("via") ?? "Via";
  headers[via] = [headers[via], `1.1 ${options.host}`].filter((item) => item !== undefined).join(", ");
  return headers;
}

/** Reads a whole body, or gives undefined when it is larger than the limit. Rejects when the sender breaks off. */
export async function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.byteLength;
    if (bytes > limitBytes) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** Ends a WebSocket handshake with a plain HTTP answer. */
export function refuseUpgrade(socket: Duplex, status: number, reason: string): void {
  const line = `HTTP/1.1 ${status} ${reasonPhrase(reason) || (STATUS_CODES[status] ?? "Refused")}`;
  socket.on("error", () => undefined);
  socket.end(`${line}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** Text that may stand in a status line. */
export function reasonPhrase(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, " ").slice(0, 200);
}
