import type { OrchestrationContext, Task } from "durable-functions";
import type { RunRecord } from "../../lib/contracts/index.ts";
import { fromErrorDocument, type ErrorDocument } from "../../lib/errors/index.ts";

/** What an orchestrator asked for: an activity by name, or an agent operation by kind. */
export interface Asked {
  readonly name: string;
  readonly input: unknown;
}

/** A scripted answer: a value, an error that the step reports, or an error that the runtime throws. */
export type Answer =
  { readonly value: unknown } | { readonly error: ErrorDocument } | { readonly thrown: Error };

interface Outcome {
  readonly record: RunRecord;
  readonly asked: readonly Asked[];
}

/**
 * Runs an orchestrator to its end against scripted answers, without a Durable runtime: activities and sub-orchestrations are
 * answered in the form in which the runtime would deliver them. Time stands still but for one second per answer.
 */
export function driveOrchestrator(
  orchestrator: (context: OrchestrationContext) => Generator<Task, RunRecord, unknown>,
  input: unknown,
  answer: (asked: Asked) => Answer,
): Outcome {
  const asked: Asked[] = [];
  let now = Date.parse("2026-11-23T02:00:00Z");
  const ask = (name: string, given: unknown, isOperation: boolean) => ({ name, given, isOperation });
  const df = {
    getInput: () => input,
    get currentUtcDateTime() {
      return new Date(now);
    },
    setCustomStatus: () => undefined,
    callActivityWithRetry: (name: string, _retry: unknown, given: unknown) => ask(name, given, false),
    callSubOrchestrator: (_name: string, given: { kind: string }) => ask(given.kind, given, true),
  };
  const generator = orchestrator({ df, error: () => undefined } as unknown as OrchestrationContext);
  let step = generator.next();
  while (!step.done) {
    const { name, given, isOperation } = step.value as unknown as ReturnType<typeof ask>;
    asked.push({ name, input: given });
    now += 1_000;
    const reply = answer({ name, input: given });
    if ("thrown" in reply) step = generator.throw(reply.thrown);
    else if ("error" in reply) step = generator.next({ ok: false, error: reply.error });
    else
      step = generator.next(
        isOperation ? { ok: true, result: reply.value } : { ok: true, value: reply.value },
      );
  }
  return { record: step.value, asked };
}

/** The scripted error of step `name`, as the agent or an activity would report it. */
export function failure(name: string): ErrorDocument {
  return fromErrorDocument({
    code: "INTERNAL",
    message: `${name} failed`,
    retry: "never",
    facts: {},
  }).toJSON();
}
