import type { ServerResponse } from "node:http";
import type { ListenerResponse } from "./channels.ts";
import type { FaultQueue } from "./faults.ts";
import { reasonPhrase } from "./http-forms.ts";

/** Senders that wait for a listener's answer. */
export interface PendingRequests {
  /** Registers a sender under the request's id; after `timeoutMs` it gets 504. */
  add(id: string, response: ServerResponse): void;
  /** A piece of the answer came: the time starts anew. */
  touch(id: string): void;
  /** Passes an answer on. An answer that nobody waits for (late, or given twice) is dropped. */
  settle(answer: ListenerResponse): void;
}

export function createPendingRequests(options: {
  readonly timeoutMs: number;
  readonly host: () => string;
  readonly faults: FaultQueue;
  readonly onViolation: (reason: string) => void;
}): PendingRequests {
  const { timeoutMs, faults, onViolation } = options;
  const waiting = new Map<string, { readonly response: ServerResponse; readonly timer: NodeJS.Timeout }>();

  function pass(response: ServerResponse, answer: ListenerResponse): void {
    const { head, body, violations } = answer;
    if (violations.length > 0) {
      violations.forEach(onViolation);
      endWith(response, 500, "the listener's response breaks the protocol");
      return;
    }
    response.setHeader("via", `1.1 ${options.host()}`);
    for (const [name, value] of head.headers) response.appendHeader(name, value);
    if (faults.take("cut-response-body") !== undefined) {
      response.writeHead(head.status, { "content-length": body.byteLength + 1 });
      response.write(body.subarray(0, body.byteLength / 2), () => response.socket?.destroy());
      return;
    }
    if (head.description !== undefined) response.statusMessage = reasonPhrase(head.description);
    response.statusCode = head.status;
    response.end(body);
  }

  return {
    add(id, response) {
      const timer = setTimeout(() => {
        waiting.delete(id);
        endWith(response, 504, "the listener did not respond in time");
      }, timeoutMs);
      waiting.set(id, { response, timer });
      response.once("close", () => {
        clearTimeout(timer);
        waiting.delete(id);
      });
    },
    touch: (id) => waiting.get(id)?.timer.refresh(),
    settle(answer) {
      const id = answer.head.requestId;
      if (faults.take("drop-response") !== undefined) return;
      const delay = faults.take("delay-response");
      if (delay !== undefined) {
        setTimeout(() => this.settle(answer), delay.delayMs).unref();
        return;
      }
      const found = waiting.get(id);
      if (found === undefined) return;
      waiting.delete(id);
      clearTimeout(found.timer);
      pass(found.response, answer);
    },
  };
}

/** An answer of the service itself: no `Via`. */
export function endWith(response: ServerResponse, status: number, reason: string): void {
  if (response.headersSent || response.destroyed) return;
  response.statusMessage = reasonPhrase(reason);
  response.statusCode = status;
  response.end(reason);
}
