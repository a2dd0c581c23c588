import type { OperationProgress, OperationState } from "../contracts/index.ts";
import { toErrorDocument, type ErrorDocument } from "../errors/index.ts";
import type { OperationRow } from "./journal/journal.ts";
import { redact } from "./log.ts";

/** An operation as the control plane sees it. @param live newer progress than the journal's */
export function stateOf(row: OperationRow, live: OperationProgress | undefined): OperationState {
  const { id: operationId, kind, run_id: runId, cluster_id: clusterId, started_at: startedAt } = row;
  const base = { operationId, kind, runId, clusterId, startedAt };
  const endedAt = row.ended_at ?? startedAt;
  switch (row.state) {
    case "running": {
      const progress = live ?? row.progress ?? undefined;
      return { ...base, state: "running", ...(progress === undefined ? {} : { progress }) };
    }
    case "succeeded":
      return { ...base, state: "succeeded", endedAt, result: row.result };
    case "failed": {
      const error = row.error ?? toErrorDocument(new Error("the journal lacks the error"));
      return { ...base, state: "failed", endedAt, error };
    }
  }
}

/** The error document of anything thrown, fit for the journal and the wire: without secrets. */
export function redactedDocument(thrown: unknown): ErrorDocument {
  const document = toErrorDocument(thrown);
  const facts = Object.entries(document.facts).map(([name, value]) => [
    name,
    typeof value === "string" ? redact(value) : value,
  ]);
  return {
    ...document,
    message: redact(document.message),
    facts: Object.fromEntries(facts) as ErrorDocument["facts"],
  };
}
