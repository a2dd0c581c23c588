import type { Request } from "../http/message.ts";
import type { InstanceFilter } from "./queries.ts";
import type { InstanceRow } from "./store.ts";

const STATUSES = [
  "Running",
  "Completed",
  "ContinuedAsNew",
  "Failed",
  "Canceled",
  "Terminated",
  "Pending",
  "Suspended",
];

/** The body as JSON text, null when it is empty, undefined when it is not JSON. */
export function bodyJson(request: Request): string | null | undefined {
  const text = request.body.toString("utf8").trim();
  if (text === "") return null;
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** A query parameter; names have no case. */
export function query(request: Request, name: string): string | undefined {
  for (const [key, value] of request.url.searchParams) {
    if (key.toLowerCase() === name.toLowerCase() && value !== "") return value;
  }
  return undefined;
}

/** @returns the filter, or what is wrong with it */
export function readFilter(request: Request): InstanceFilter | string {
  const instant = (name: string): number | undefined => {
    const text = query(request, name);
    return text === undefined ? undefined : Date.parse(text);
  };
  const createdFrom = instant("createdTimeFrom");
  const createdTo = instant("createdTimeTo");
  if (Number.isNaN(createdFrom) || Number.isNaN(createdTo))
    return "'createdTimeFrom' and 'createdTimeTo' must be ISO 8601 dates.";
  const names = query(request, "runtimeStatus")
    ?.split(",")
    .map((name) => name.trim());
  const statuses = names?.map((name) => STATUSES.find((known) => known.toLowerCase() === name.toLowerCase()));
  if (statuses?.includes(undefined) === true) return `'runtimeStatus' must be of ${STATUSES.join(", ")}.`;
  return {
    createdFrom,
    createdTo,
    statuses: statuses?.filter((status) => status !== undefined),
    prefix: query(request, "instanceIdPrefix"),
  };
}

export function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

type Position = Pick<InstanceRow, "created" | "id">;

export function writeToken(position: Position): string {
  return Buffer.from(JSON.stringify([position.created, position.id])).toString("base64url");
}

export function readToken(token: string | undefined): Position | undefined | "bad" {
  if (token === undefined || token === "") return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
    if (Array.isArray(value) && typeof value[0] === "number" && typeof value[1] === "string") {
      return { created: value[0], id: value[1] };
    }
  } catch {
    // Falls through: a token that is no JSON is as bad as one of another shape.
  }
  return "bad";
}
