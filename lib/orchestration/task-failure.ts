import { BackupError, isBackupErrorCode, toErrorDocument, type ErrorDocument } from "../errors/index.ts";

/**
 * The error document of whatever an orchestrator caught. Durable Functions gives a failed activity in two shapes (with
 * `failureDetails` since schema V4, as plain text before), and which one comes depends on the extension; both are read.
 */
export function errorOfTask(thrown: unknown): ErrorDocument {
  if (thrown instanceof BackupError) return thrown.toJSON();
  const details = failureDetailsOf(thrown);
  if (details !== undefined) {
    const { code, retry, ...facts } = details.properties;
    if (isBackupErrorCode(code)) {
      return {
        code,
        message: details.message,
        retry: isRetry(retry) ? retry : "never",
        facts: scalars(facts),
      };
    }
    return { code: "ACTIVITY_FAILED", message: details.message, retry: "later", facts: {} };
  }
  const document = toErrorDocument(thrown);
  return document.code === "INTERNAL" ? { ...document, code: "ACTIVITY_FAILED", retry: "later" } : document;
}

interface FailureDetails {
  readonly message: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

function failureDetailsOf(thrown: unknown): FailureDetails | undefined {
  if (!(thrown instanceof Error) || !("failureDetails" in thrown)) return undefined;
  const details = thrown.failureDetails;
  if (typeof details !== "object" || details === null) return undefined;
  const { errorMessage, properties } = details as { errorMessage?: unknown; properties?: unknown };
  return {
    message: typeof errorMessage === "string" ? errorMessage : thrown.message,
    properties: typeof properties === "object" && properties !== null ? { ...properties } : {},
  };
}

function isRetry(value: unknown): value is ErrorDocument["retry"] {
  return value === "never" || value === "later" || value === "after-operator";
}

function scalars(facts: Readonly<Record<string, unknown>>): ErrorDocument["facts"] {
  const kept = Object.entries(facts).filter((entry): entry is [string, string | number | boolean] =>
    ["string", "number", "boolean"].includes(typeof entry[1]),
  );
  return Object.fromEntries(kept);
}
