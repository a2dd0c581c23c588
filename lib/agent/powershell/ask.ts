import * as z from "zod";
import { BackupError } from "../../errors/index.ts";
import { toHostError, type Activity } from "./failures.ts";
import type { Purpose, ScriptRunner } from "./runner.ts";

export interface Question<T extends z.ZodType> {
  readonly script: string;
  readonly activity: Activity;
  readonly input: Readonly<Record<string, unknown>>;
  readonly answer: T;
  readonly timeoutMs: number;
}

/** Runs one script and gives its checked answer. @throws BackupError with the codes of the HyperVHost port */
export type Ask = <T extends z.ZodType>(question: Question<T>) => Promise<z.infer<T>>;

const PURPOSE_OF: Readonly<Record<Activity, Purpose>> = {
  query: "query",
  collection: "checkpoint",
  checkpoint: "checkpoint",
  reference: "checkpoint",
  changes: "changes",
  storage: "storage",
  restore: "restore",
};

/** Scripts that change nothing on the host may be run again when their shell breaks down: by their verb. */
function isQuestion(script: string): boolean {
  return /^(?:Get|Test)-/.test(script);
}

/** @param settings goes into every input, so that no script has a default of its own */
export function createAsk(runner: ScriptRunner, settings: Readonly<Record<string, unknown>>): Ask {
  return async ({ script, activity, input, answer, timeoutMs }) => {
    const outcome = await runner.run({
      script,
      purpose: isQuestion(script) && activity !== "changes" ? "query" : PURPOSE_OF[activity],
      input: { settings, ...input },
      timeoutMs,
      repeatable: isQuestion(script),
    });
    if (outcome.kind === "failed") throw toHostError(outcome.error, activity, script);
    const parsed = answer.safeParse(outcome.value);
    if (parsed.success) return parsed.data;
    throw new BackupError(
      "HYPERV_ANSWER_INVALID",
      `${script} answered in an unknown form: ${z.prettifyError(parsed.error).slice(0, 500)}. Report it with the agent's log.`,
      { facts: { script } },
    );
  };
}
