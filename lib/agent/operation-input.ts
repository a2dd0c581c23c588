import * as z from "zod";
import { NEEDS_REPOSITORY, OPERATIONS, type OperationKind } from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";

export interface SplitInput {
  /** What the journal keeps: equal for equal inputs, without the secret. */
  readonly canonical: string;
  /** The repository's URL, where the kind has one. */
  readonly url?: string;
}

/** Checks an input and takes the secret out of it. @throws BackupError INPUT_INVALID */
export function splitSecret(kind: OperationKind, input: unknown): SplitInput {
  const parsed = OPERATIONS[kind].input.safeParse(input);
  if (!parsed.success) {
    throw new BackupError(
      "INPUT_INVALID",
      `the input of ${kind} is not valid: ${z.prettifyError(parsed.error)}; bring control plane and agent to the same version`,
      { facts: { kind } },
    );
  }
  // zod gives an object's fields in the order of the schema, so equal inputs have equal text.
  if (!("repository" in parsed.data)) return { canonical: JSON.stringify(parsed.data) };
  const { repository, ...rest } = parsed.data;
  return { canonical: JSON.stringify(rest), url: repository.url };
}

/** The input as its handler takes it, from what the journal keeps and the URL. */
export function joinSecret(kind: OperationKind, canonical: string, url: string | undefined): unknown {
  const stored: unknown = JSON.parse(canonical);
  if (!NEEDS_REPOSITORY.has(kind) || typeof stored !== "object") return stored;
  return { ...stored, repository: { url } };
}
