import { BackupError } from "../errors/index.ts";
import { parseServiceMessage, type ChannelKind, type RequestHead, type ServiceMessage } from "./messages.ts";

/** A request with its body, ready for the handler. */
export interface ReceivedRequest extends RequestHead {
  readonly body: Uint8Array;
}

/** What one WebSocket message means to the listener. */
export type ChannelEvent =
  | { readonly kind: "request"; readonly request: ReceivedRequest }
  | Exclude<ServiceMessage, { kind: "request" } | { kind: "invalid" }>
  /** Something is wrong; when `answer` is set the sender can be told with this status. */
  | {
      readonly kind: "violation";
      readonly error: BackupError;
      readonly answer:
        { readonly id: string; readonly address: string | undefined; readonly status: number } | undefined;
    };

export interface MessageReader {
  /** Takes the next whole message of the channel. Never throws. */
  push(data: Uint8Array, isBinary: boolean): readonly ChannelEvent[];
}

type Waiting = { readonly head: RequestHead } | "discard" | undefined;

const NO_BODY = new Uint8Array();

/**
 * Pairs request headers with the binary message that follows them. A header whose body does not come, a body
 * without a header and a repeated header each become a violation or are passed over; the channel goes on.
 */
export function createMessageReader(
  channel: ChannelKind,
  limits: { readonly maxBodyBytes: number },
): MessageReader {
  let waiting: Waiting;

  function pushBinary(data: Uint8Array): ChannelEvent[] {
    const before = waiting;
    waiting = undefined;
    if (before === "discard") return [];
    if (before === undefined) return [violation("a body came without a request before it")];
    const { head } = before;
    if (data.byteLength > limits.maxBodyBytes) {
      const error = new BackupError(
        "RELAY_REQUEST_TOO_LARGE",
        `request ${head.id} has ${data.byteLength} bytes, the limit is ${limits.maxBodyBytes}; send it in pages`,
        { facts: { id: head.id, bytes: data.byteLength, limitBytes: limits.maxBodyBytes } },
      );
      return [{ kind: "violation", error, answer: { id: head.id, address: head.address, status: 413 } }];
    }
    return [{ kind: "request", request: { ...head, body: data } }];
  }

  function pushText(text: string): ChannelEvent[] {
    const message = parseServiceMessage(text, channel);
    const events: ChannelEvent[] = [];
    if (typeof waiting === "object" && (message.kind === "request" || message.kind === "rendezvous")) {
      const { head } = waiting;
      if (message.kind === "request" && message.head.id === head.id) return []; // the header came twice
      events.push(violation(`request ${head.id} was not followed by its body`, head));
    }
    switch (message.kind) {
      case "request":
        waiting = message.head.hasBody ? { head: message.head } : undefined;
        if (!message.head.hasBody)
          events.push({ kind: "request", request: { ...message.head, body: NO_BODY } });
        break;
      case "invalid": {
        const { error, id, address, hasBody } = message;
        if (hasBody) waiting = "discard";
        const answer = id === undefined ? undefined : { id, address, status: 400 };
        events.push({ kind: "violation", error, answer });
        break;
      }
      case "rendezvous":
        waiting = undefined;
        events.push(message);
        break;
      case "accept":
      case "unknown":
        events.push(message);
        break;
    }
    return events;
  }

  return {
    push: (data, isBinary) => (isBinary ? pushBinary(data) : pushText(Buffer.from(data).toString("utf8"))),
  };
}

function violation(what: string, head?: RequestHead): ChannelEvent {
  const error = new BackupError(
    "RELAY_MESSAGE_INVALID",
    `a message on the relay channel does not follow the protocol: ${what}; it was refused`,
    { facts: head === undefined ? {} : { id: head.id } },
  );
  return {
    kind: "violation",
    error,
    answer: head === undefined ? undefined : { id: head.id, address: head.address, status: 400 },
  };
}
