import type { DurableHttpRequest } from "./actions.ts";
import type { EventBody, Failure } from "./events.ts";
import { toJson } from "./json.ts";

/** Something that an orchestration asked for and that its history does not have yet. `id` is the task id. */
export type Decision =
  | {
      readonly kind: "activity";
      readonly id: number;
      readonly name: string;
      readonly input: string | undefined;
    }
  | {
      readonly kind: "http";
      readonly id: number;
      readonly request: DurableHttpRequest;
      readonly notBefore: number;
    }
  | {
      readonly kind: "sub";
      readonly id: number;
      readonly name: string;
      readonly instanceId: string | undefined;
      readonly input: string | null;
      readonly version: string | undefined;
    }
  | { readonly kind: "timer"; readonly id: number; readonly fireAt: number }
  | {
      readonly kind: "call" | "signal";
      readonly id: number;
      readonly entity: string;
      readonly operation: string;
      readonly input: string | null;
      /** Delivery is held back until then. */
      readonly notBefore: number;
    }
  | {
      readonly kind: "lock";
      readonly id: number;
      readonly requestId: string;
      readonly entities: readonly string[];
    }
  | { readonly kind: "unlock"; readonly id: number; readonly requestId: string; readonly entity: string }
  /** A further try after the retry policy's time is over: it fails with what failed before, without being run. */
  | {
      readonly kind: "expired";
      readonly id: number;
      readonly of: "activity" | "sub";
      readonly name: string;
      readonly failure: Failure;
    };

/** The scheduling event's type and name for a decision; the SDK only looks at type and id, people at both. */
export function scheduledAs(decision: Decision): {
  readonly eventType: number;
  readonly name: string | undefined;
} {
  switch (decision.kind) {
    case "activity":
      return { eventType: 4, name: decision.name };
    case "http":
      return { eventType: 4, name: HTTP_ACTIVITY };
    case "sub":
      return { eventType: 7, name: decision.name };
    case "timer":
      return { eventType: 10, name: undefined };
    case "call":
    case "signal":
    case "lock":
    case "unlock":
      return { eventType: 14, name: undefined };
    case "expired":
      return { eventType: decision.of === "activity" ? 4 : 7, name: decision.name };
  }
}

/** The name under which the Durable extension lists callHttp in history. */
export const HTTP_ACTIVITY = "BuiltIn::HttpActivity";

/** The text that is given to an activity: strings arrive from the SDK already encoded, other values do not. */
export function activityInput(input: unknown): string | undefined {
  return typeof input === "string" ? input : toJson(input);
}

/** The history line that records a decision. `target` is the instance or entity that it concerns. */
export function schedulingEvent(decision: Decision, target: string, message: string): EventBody {
  switch (decision.kind) {
    case "activity":
      return { EventType: 4, Name: decision.name, Input: `[${decision.input ?? "null"}]` };
    case "http":
      return { EventType: 4, Name: HTTP_ACTIVITY, Input: JSON.stringify([decision.request]) };
    case "sub":
      return { EventType: 7, Name: decision.name, InstanceId: target, Input: decision.input };
    case "timer":
      return { EventType: 10, FireAt: new Date(decision.fireAt).toISOString() };
    case "call":
    case "signal":
      return { EventType: 14, InstanceId: target, Name: "op", Input: message };
    case "lock":
      return { EventType: 14, InstanceId: target, Name: "op", Input: message };
    case "unlock":
      return { EventType: 14, InstanceId: target, Name: "release", Input: message };
    case "expired":
      return decision.of === "activity"
        ? { EventType: 4, Name: decision.name, Input: "[null]" }
        : { EventType: 7, Name: decision.name, InstanceId: target, Input: null };
  }
}
