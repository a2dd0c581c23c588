import type { Leftover, PreflightFinding, RunState } from "../contracts/index.ts";
import type { ErrorDocument } from "../errors/index.ts";

/** Whether the preflight forbids the run. Warnings never do. */
export function isRefused(findings: readonly PreflightFinding[]): boolean {
  return findings.some(({ severity }) => severity === "refuse");
}

/** The one error that stands for all causes the preflight found. */
export function refusal(findings: readonly PreflightFinding[]): ErrorDocument {
  const causes = findings.filter(({ severity }) => severity === "refuse");
  return {
    code: "PREFLIGHT_REFUSED",
    message: `nothing was touched; ${String(causes.length)} cause(s): ${causes
      .map(({ subject, message, remedy }) => `${subject}: ${message} (${remedy})`)
      .join("; ")}`,
    retry: "after-operator",
    facts: { causes: causes.length },
  };
}

/** How a committed run ends: the restore point stands either way, but something left behind is never plain success. */
export function endOfCommitted(
  leftovers: readonly Leftover[],
  cleanUpError: ErrorDocument | undefined,
): RunState {
  return leftovers.length === 0 && cleanUpError === undefined ? "committed" : "committed-with-leftovers";
}

/** How a run ends that failed before its commit. */
export function endOfFailed(leftovers: readonly Leftover[], undoError: ErrorDocument | undefined): RunState {
  return leftovers.length === 0 && undoError === undefined ? "undone" : "failed";
}
