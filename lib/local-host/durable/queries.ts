import type { Database } from "./database.ts";
import type { HistoryEvent } from "./events.ts";
import { EventType } from "./events.ts";
import type { InstanceRow } from "./store.ts";

/** What the status API gives for one instance. */
export interface StatusDocument {
  readonly name: string;
  readonly instanceId: string;
  readonly runtimeStatus: string;
  readonly input: unknown;
  readonly customStatus: unknown;
  readonly output: unknown;
  readonly createdTime: string;
  readonly lastUpdatedTime: string;
  readonly historyEvents?: unknown[];
}

export interface StatusOptions {
  readonly showInput: boolean;
  readonly showHistory: boolean;
  readonly showHistoryOutput: boolean;
}

export function statusDocument(
  row: InstanceRow,
  options: StatusOptions,
  history: readonly string[],
): StatusDocument {
  const events = options.showHistory ? historyDocument(history, options.showHistoryOutput) : undefined;
  return {
    name: row.name,
    instanceId: row.id,
    runtimeStatus: row.status,
    input: options.showInput ? parseOrNull(row.input) : null,
    customStatus: parseOrNull(row.custom_status),
    output: parseOrNull(row.output),
    createdTime: isoSeconds(row.created),
    lastUpdatedTime: isoSeconds(row.updated),
    ...(events === undefined ? {} : { historyEvents: events }),
  };
}

/** Azure writes whole seconds. */
function isoSeconds(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}

function parseOrNull(text: string | null): unknown {
  return text === null ? null : JSON.parse(text);
}

/**
 * The history as people read it: names instead of numbers, completions joined with what they complete, and the turns of
 * the orchestrator left out (as the Durable extension does).
 */
function historyDocument(lines: readonly string[], withOutput: boolean): unknown[] {
  const events = lines.map((line) => JSON.parse(line) as HistoryEvent);
  const scheduled = new Map<number, HistoryEvent>();
  for (const event of events) if (event.EventId >= 0) scheduled.set(event.EventId, event);
  const document: unknown[] = [];
  for (const event of events) {
    const type = Object.entries(EventType).find(([, number]) => number === event.EventType)?.[0] ?? "Unknown";
    if (
      event.EventType === EventType.OrchestratorStarted ||
      event.EventType === EventType.OrchestratorCompleted
    )
      continue;
    if (event.EventType === EventType.TaskScheduled || event.EventType === EventType.TimerCreated) {
      continue;
    }
    if (event.EventType === EventType.SubOrchestrationInstanceCreated) continue;
    const { EventId: _id, IsPlayed: _played, EventType: _type, ...fields } = event;
    const shown: Record<string, unknown> = { EventType: type, ...fields };
    if (type === "ExecutionStarted") shown["FunctionName"] = shown["Name"];
    const taskId = "TaskScheduledId" in event ? event.TaskScheduledId : undefined;
    const origin = taskId === undefined ? undefined : scheduled.get(taskId);
    if (origin !== undefined) {
      shown["ScheduledTime"] = origin.Timestamp;
      shown["FunctionName"] = "Name" in origin ? origin.Name : undefined;
      delete shown["TaskScheduledId"];
    }
    delete shown["Name"];
    if (type === "EventRaised") shown["Name"] = "Name" in event ? event.Name : undefined;
    if (!withOutput) {
      delete shown["Result"];
      delete shown["Input"];
    }
    if (withOutput && typeof shown["Result"] === "string")
      shown["Result"] = JSON.parse(shown["Result"]) as unknown;
    document.push(shown);
  }
  return document;
}

export interface InstanceFilter {
  readonly createdFrom?: number | undefined;
  readonly createdTo?: number | undefined;
  readonly statuses?: readonly string[] | undefined;
  readonly prefix?: string | undefined;
}

/** A page of instances, oldest first, and where the next one begins. */
export function listInstances(
  db: Database,
  filter: InstanceFilter,
  top: number,
  after: { readonly created: number; readonly id: string } | undefined,
): {
  readonly rows: InstanceRow[];
  readonly next: { readonly created: number; readonly id: string } | undefined;
} {
  const statuses = filter.statuses ?? [];
  const marks = statuses.map(() => "?").join(",");
  const prefix = filter.prefix ?? "";
  const rows = db.all<InstanceRow>(
    `SELECT * FROM instances WHERE (created, id) > (?, ?) AND created >= ? AND created <= ? AND substr(id, 1, ?) = ?
     ${statuses.length > 0 ? `AND status IN (${marks})` : ""} ORDER BY created, id LIMIT ?`,
    after?.created ?? -1,
    after?.id ?? "",
    filter.createdFrom ?? 0,
    filter.createdTo ?? Number.MAX_SAFE_INTEGER,
    prefix.length,
    prefix,
    ...statuses,
    top + 1,
  );
  const page = rows.slice(0, top);
  const last = page.at(-1);
  return {
    rows: page,
    next: rows.length > top && last !== undefined ? { created: last.created, id: last.id } : undefined,
  };
}
