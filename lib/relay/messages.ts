import * as z from "zod";
import { BackupError } from "../errors/index.ts";
import { normaliseHeaders } from "./headers.ts";

/** The header part of a request, as the service sends it. */
export interface RequestHead {
  readonly id: string;
  /** Where to open a rendezvous for the answer; always present on a control channel. */
  readonly address: string | undefined;
  readonly requestTarget: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly hasBody: boolean;
}

/** A text message of the service to a listener. */
export type ServiceMessage =
  | { readonly kind: "request"; readonly head: RequestHead }
  /** The request is too large for this channel: dial the address and receive it there. */
  | { readonly kind: "rendezvous"; readonly address: string }
  | { readonly kind: "accept"; readonly id: string; readonly address: string }
  /** A command that later versions of the service may send. */
  | { readonly kind: "unknown"; readonly names: string }
  /** `id`, when it could be read, allows an answer so that the sender need not wait for its time-out. */
  | {
      readonly kind: "invalid";
      readonly error: BackupError;
      readonly id: string | undefined;
      readonly address: string | undefined;
      readonly hasBody: boolean;
    };

export type ChannelKind = "control" | "rendezvous";

const Id = z.string().min(1).max(512);
const Url = z.string().min(1).max(16_384);
const HeaderValue = z.union([z.string(), z.number(), z.boolean()]).transform(String);

const Request = z.object({
  id: Id,
  address: Url.optional(),
  requestTarget: z.string().min(1).max(65_536),
  method: z
    .string()
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$/)
    .refine((method) => method.toUpperCase() !== "CONNECT"),
  requestHeaders: z
    .record(z.string(), z.union([HeaderValue, z.array(HeaderValue).transform((all) => all.join(", "))]))
    .nullish(),
  body: z.boolean().nullish(),
});
const Accept = z.object({ id: Id, address: Url });
const Trace = z.object({
  id: Id.optional().catch(undefined),
  address: Url.optional().catch(undefined),
  body: z.boolean().optional().catch(undefined),
});
const Envelope = z.looseObject({ request: z.unknown().optional(), accept: z.unknown().optional() });

/** Reads one text message of the service. Never throws: what is wrong becomes `invalid`. */
export function parseServiceMessage(text: string, channel: ChannelKind): ServiceMessage {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    return invalid("it is not JSON", undefined, cause);
  }
  const envelope = Envelope.safeParse(json);
  if (!envelope.success) return invalid("it is not a JSON object", undefined);
  const { request, accept } = envelope.data;
  if (request !== undefined) return readRequest(request, channel);
  if (accept !== undefined) {
    const parsed = Accept.safeParse(accept);
    return parsed.success ? { kind: "accept", ...parsed.data } : invalid("its accept is not valid", accept);
  }
  return { kind: "unknown", names: Object.keys(envelope.data).slice(0, 8).join(",").slice(0, 200) };
}

function readRequest(value: unknown, channel: ChannelKind): ServiceMessage {
  const trace = Trace.safeParse(value);
  if (!trace.success) return invalid("its request is not an object", undefined);
  const rendezvous = trace.data.address;
  // Without `body` the service keeps the request back for the rendezvous; the .NET listener decides by the same field.
  if (channel === "control" && trace.data.body === undefined && rendezvous !== undefined) {
    return { kind: "rendezvous", address: rendezvous };
  }
  const parsed = Request.safeParse(value);
  if (!parsed.success) return invalid(z.prettifyError(parsed.error).slice(0, 500), value);
  const { id, address, requestTarget, method, requestHeaders, body } = parsed.data;
  if (channel === "control" && address === undefined) return invalid("its request has no address", value);
  const headers = normaliseHeaders(Object.entries(requestHeaders ?? {}));
  return {
    kind: "request",
    head: { id, address, requestTarget, method, headers, hasBody: body ?? false },
  };
}

function invalid(what: string, request: unknown, cause?: unknown): ServiceMessage {
  const trace = Trace.safeParse(request).data;
  const error = new BackupError(
    "RELAY_MESSAGE_INVALID",
    `a message on the relay channel does not follow the protocol: ${what}; it was refused`,
    { facts: trace?.id === undefined ? {} : { id: trace.id }, cause },
  );
  return { kind: "invalid", error, id: trace?.id, address: trace?.address, hasBody: trace?.body ?? false };
}

/** The text part of a response; the body follows as a binary message when `hasBody`. */
export function formatResponse(response: {
  readonly requestId: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly hasBody: boolean;
}): string {
  const { requestId, status, headers, hasBody } = response;
  return JSON.stringify({
    response: { requestId, statusCode: status, responseHeaders: headers, body: hasBody },
  });
}

/** Replaces the token of a control channel; the service does not reply. */
export function formatRenewToken(token: string): string {
  return JSON.stringify({ renewToken: { token } });
}
