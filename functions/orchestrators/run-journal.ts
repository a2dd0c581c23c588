import type { OrchestrationContext, Task } from "durable-functions";
import type { RunRecord } from "../../lib/contracts/index.ts";

/** Keeps the run record while the orchestrator goes on: each step is one line of it, and the custom status shows the present. */
export class RunJournal {
  readonly #context: OrchestrationContext;
  #record: RunRecord;

  constructor(
    context: OrchestrationContext,
    start: Pick<RunRecord, "runId" | "clusterId" | "kind" | "trigger">,
  ) {
    this.#context = context;
    this.#record = {
      ...start,
      formatVersion: 1,
      state: "running",
      startedAt: this.#now(),
      steps: [],
      findings: [],
      leftovers: [],
    };
  }

  get record(): RunRecord {
    return this.#record;
  }

  note(facts: Partial<RunRecord>): void {
    this.#record = { ...this.#record, ...facts };
  }

  /** Runs `work` as the step `name`; a failure is noted and goes on to the caller. */
  *step<T>(name: string, work: Generator<Task, T, unknown>): Generator<Task, T, unknown> {
    const startedAt = this.#now();
    const { runId } = this.#record;
    this.#context.df.setCustomStatus({ runId, step: name, since: startedAt });
    try {
      const result = yield* work;
      this.#close(name, startedAt, "succeeded");
      return result;
    } catch (error) {
      this.#close(name, startedAt, "failed");
      throw error;
    }
  }

  /** The record as it is written at the end of the run. */
  end(facts: Partial<RunRecord> & Pick<RunRecord, "state">): RunRecord {
    this.note({ ...facts, endedAt: this.#now() });
    const { runId } = this.#record;
    this.#context.df.setCustomStatus({ runId, step: "ended", state: facts.state });
    return this.#record;
  }

  #close(name: string, startedAt: string, outcome: "succeeded" | "failed"): void {
    this.note({ steps: [...this.#record.steps, { name, startedAt, endedAt: this.#now(), outcome }] });
  }

  #now(): string {
    return this.#context.df.currentUtcDateTime.toISOString();
  }
}
