import type { DurableHttpRequest } from "./actions.ts";
import { EventType, type HistoryEvent } from "./events.ts";

export function parseHttpAnswer(event: HistoryEvent): {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
} {
  const text = event.EventType === EventType.TaskCompleted ? event.Result : "null";
  const answer = JSON.parse(text) as { statusCode?: number; headers?: Record<string, string> } | null;
  const headers = Object.entries(answer?.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]);
  return {
    statusCode: answer?.statusCode ?? 0,
    headers: Object.fromEntries(headers) as Record<string, string>,
  };
}

/** What the extension sends while it polls: GET on the Location, with the headers of the first request. */
export function pollRequest(first: DurableHttpRequest, location: string): DurableHttpRequest {
  return { ...first, method: "GET", content: undefined, uri: new URL(location, first.uri).href };
}
