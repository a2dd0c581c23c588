import { ERROR_CODES } from "../lib/errors/index.ts";

/** The text of docs/errors.md; a test compares it with the file, so that the two cannot drift apart. */
export function renderErrorDocs(): string {
  const rows = Object.entries(ERROR_CODES)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
  return [
    "# Error codes",
    "",
    "Codes are stable: they are never renamed and never change their meaning. They stand in the CLI's output, in problem documents of the",
    "HTTP API, in run records and in logs. Written by `tools/write-error-docs.ts` from `lib/errors/codes.ts`.",
    "",
    "| code | what it means and what to do |",
    "|---|---|",
    ...rows,
    "",
  ].join("\n");
}
