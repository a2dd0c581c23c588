import * as z from "zod";
import { isHeaderValid, isHopByHop } from "../headers.ts";
import { CONTROL_HEADER_BYTES, CONTROL_MESSAGE_BYTES, RESERVED_STATUSES } from "../limits.ts";
import type { ChannelKind } from "../messages.ts";

/** The header part of a response, as a listener sends it. */
export interface ResponseHead {
  readonly requestId: string;
  readonly status: number;
  readonly description: string | undefined;
  readonly headers: readonly (readonly [string, string])[];
  readonly hasBody: boolean;
}

export type ListenerMessage =
  | { readonly kind: "response"; readonly head: ResponseHead; readonly violations: readonly string[] }
  | { readonly kind: "renewToken"; readonly token: string }
  | { readonly kind: "invalid"; readonly reason: string };

const HeaderValue = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const Message = z.object({
  response: z
    .object({
      requestId: z.string(),
      // The documentation's own example sends the number as text.
      statusCode: z.union([z.number(), z.string().regex(/^\d{3}$/)]).transform(Number),
      statusDescription: z.string().nullish(),
      responseHeaders: z.record(z.string(), z.union([HeaderValue, z.array(HeaderValue)])).nullish(),
      body: z.boolean().nullish(),
    })
    .optional(),
  renewToken: z.object({ token: z.string() }).optional(),
});

/** Reads one text message of a listener, and notes what in it the protocol forbids. */
export function parseListenerMessage(text: string, channel: ChannelKind): ListenerMessage {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return { kind: "invalid", reason: "a text message is not JSON" };
  }
  const parsed = Message.safeParse(json);
  if (!parsed.success) return { kind: "invalid", reason: z.prettifyError(parsed.error) };
  const { response, renewToken } = parsed.data;
  if (renewToken !== undefined) return { kind: "renewToken", token: renewToken.token };
  if (response === undefined) return { kind: "invalid", reason: "neither response nor renewToken" };

  const { requestId, statusCode, statusDescription, responseHeaders, body } = response;
  const all = Object.entries(responseHeaders ?? {}).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((item) => [name, item] as const),
  );
  const violations: string[] = [];
  if (statusCode < 200 || statusCode > 599 || RESERVED_STATUSES.has(statusCode)) {
    violations.push(`status ${statusCode} is reserved or not valid`);
  }
  for (const [name, value] of all) {
    if (isHopByHop(name)) violations.push(`header ${name} must not be used`);
    else if (!isHeaderValid(name, value)) violations.push(`header ${JSON.stringify(name)} is not valid`);
  }
  const bytes = Buffer.byteLength(text);
  if (channel === "control" && bytes > CONTROL_HEADER_BYTES) violations.push(`a header of ${bytes} bytes`);
  return {
    kind: "response",
    head: {
      requestId,
      status: statusCode,
      description: statusDescription ?? undefined,
      headers: all.filter(([name, value]) => !isHopByHop(name) && isHeaderValid(name, value)),
      hasBody: body ?? false,
    },
    violations,
  };
}

/** Notes a body that had to go over a rendezvous. */
export function bodyViolations(bodyBytes: number, channel: ChannelKind): readonly string[] {
  return channel === "control" && bodyBytes > CONTROL_MESSAGE_BYTES
    ? [`a body of ${bodyBytes} bytes on the control channel`]
    : [];
}
