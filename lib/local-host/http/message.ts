import type { IncomingMessage, ServerResponse } from "node:http";

/** A request whose body was read whole. */
export interface Request {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** What a handler answers. `headers` may name one header several times (Set-Cookie). */
export interface Response {
  readonly status: number;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: string | Uint8Array | undefined;
}

export class BodyTooLarge extends Error {
  override readonly name = "BodyTooLarge";
}

export function json(
  status: number,
  value: unknown,
  headers: readonly (readonly [string, string])[] = [],
): Response {
  return {
    status,
    headers: [["content-type", "application/json; charset=utf-8"], ...headers],
    body: JSON.stringify(value),
  };
}

/** An error for a program to read: what happened, and what to do. */
export function problem(status: number, message: string): Response {
  return json(status, { Message: message });
}

/** @throws BodyTooLarge when the body has more than `limitBytes` */
export async function readRequest(
  incoming: IncomingMessage,
  origin: string,
  limitBytes: number,
): Promise<Request> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limitBytes) throw new BodyTooLarge();
    chunks.push(chunk);
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(incoming.headers)) {
    // Whose word this is: in Azure the platform sets it after a sign-in, and nobody else can.
    if (name.startsWith("x-ms-client-principal")) continue;
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  const host = headers["host"];
  const base = host === undefined || !/^[\w.:[\]-]+$/.test(host) ? origin : `http://${host}`;
  return {
    method: incoming.method ?? "GET",
    url: new URL(incoming.url ?? "/", base),
    headers,
    body: Buffer.concat(chunks),
  };
}

export function writeResponse(outgoing: ServerResponse, response: Response): void {
  outgoing.statusCode = response.status;
  for (const [name, value] of response.headers ?? []) outgoing.appendHeader(name, value);
  if (response.body === undefined) outgoing.end();
  else outgoing.end(response.body);
}
