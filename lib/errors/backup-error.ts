import { ERROR_CODES, type BackupErrorCode } from "./codes.ts";

/** Whether doing the same again can help: `later` after a while, `after-operator` once a person changed something. */
export type Retry = "never" | "later" | "after-operator";

export type ErrorFacts = Readonly<Record<string, string | number | boolean>>;

/** The one error that crosses room borders. Codes are stable and documented in docs/errors.md. */
export class BackupError extends Error {
  override readonly name = "BackupError";
  readonly code: BackupErrorCode;
  readonly retry: Retry;
  /** The things the message speaks of, for programs. Never a secret, never a SAS token. */
  readonly facts: ErrorFacts;

  /** @param message what happened, to which thing, and what to do next */
  constructor(
    code: BackupErrorCode,
    message: string,
    options: { readonly retry?: Retry; readonly facts?: ErrorFacts; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retry = options.retry ?? "never";
    this.facts = options.facts ?? {};
  }

  toJSON(): ErrorDocument {
    return { code: this.code, message: this.message, retry: this.retry, facts: this.facts };
  }
}

/** How an error travels on the wire and in records. */
export interface ErrorDocument {
  readonly code: BackupErrorCode;
  readonly message: string;
  readonly retry: Retry;
  readonly facts: ErrorFacts;
}

export function isBackupErrorCode(code: unknown): code is BackupErrorCode {
  return typeof code === "string" && Object.hasOwn(ERROR_CODES, code);
}

/** The error document of anything thrown; what is not a BackupError becomes INTERNAL (or CANCELLED for an abort). */
export function toErrorDocument(error: unknown): ErrorDocument {
  if (error instanceof BackupError) return error.toJSON();
  if (error instanceof Error && error.name === "AbortError") {
    return { code: "CANCELLED", message: error.message, retry: "later", facts: {} };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: "INTERNAL", message, retry: "never", facts: {} };
}

/** Makes an error document that came over the wire throwable again. */
export function fromErrorDocument(document: ErrorDocument, cause?: unknown): BackupError {
  return new BackupError(document.code, document.message, {
    retry: document.retry,
    facts: document.facts,
    ...(cause === undefined ? {} : { cause }),
  });
}
