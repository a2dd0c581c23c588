import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  NEEDS_REPOSITORY,
  operationIdOf,
  OPERATIONS,
  type GuestClusterId,
  type OperationKind,
  type OperationProgress,
  type OperationRequest,
  type OperationState,
  type RunId,
} from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";
import type { Journal, OperationRow } from "./journal/journal.ts";
import { RunFacts } from "./journal/run-facts.ts";
import { redact } from "./log.ts";
import { joinSecret, splitSecret } from "./operation-input.ts";
import { redactedDocument, stateOf } from "./operation-state.ts";
import type { AgentLimits, AgentPorts, Handlers, OperationContext } from "./operations/operation.ts";

export interface EngineOptions {
  readonly journal: Journal;
  readonly handlers: Handlers;
  readonly ports: AgentPorts;
  readonly limits: AgentLimits;
  readonly dataDirectory: string;
  /** A run without any call of its control plane for this long is undone. */
  readonly runExpiryMs: number;
}

/** An operation that is being carried out by this process. */
interface Active {
  readonly abort: AbortController;
  readonly done: Promise<void>;
  progress: OperationProgress | undefined;
  progressNotedAtMs: number;
}

/** Progress reaches the journal this often; in between it is only in memory. */
const NOTE_PROGRESS_EVERY_MS = 5_000;
/** Ended runs are forgotten after this time. */
const KEEP_RUNS_MS = 90 * 24 * 60 * 60_000;

/**
 * Carries operations out, each once: what is asked for again is found. Knows nothing of HTTP. After a restart `resume` takes up
 * what was under way; `expireRuns` is the dead man's switch.
 */
export class OperationEngine {
  readonly #options: EngineOptions;
  readonly #active = new Map<string, Active>();
  /** Repository URLs by operation: secrets, never in the journal. */
  readonly #urls = new Map<string, string>();
  readonly #closing = new AbortController();
  /** Aborted when long polls are to be answered at once. */
  readonly #hurry = new AbortController();

  constructor(options: EngineOptions) {
    this.#options = options;
  }

  /**
   * Creates the operation or finds it.
   *
   * @throws BackupError INPUT_INVALID, AGENT_OPERATION_CONFLICT, AGENT_RUN_BUSY, AGENT_RUN_ENDED
   */
  put({ kind, runId, clusterId, input }: OperationRequest): OperationState {
    this.#throwIfClosing();
    if (kind === "undo") return this.undo(runId, clusterId);
    const { journal } = this.#options;
    const { canonical, url } = splitSecret(kind, input);
    const id = operationIdOf(runId, kind);
    const found = journal.operation(id);
    this.#insistOnCluster(runId, clusterId);
    if (found !== undefined && found.input !== canonical) throw conflict(id, "another input");
    if (found === undefined)
      this.#begin({ id, run_id: runId, cluster_id: clusterId, kind, input: canonical });
    journal.noteCall(runId);
    if (url !== undefined) this.#urls.set(id, url);
    this.#continue(id);
    return this.state(id);
  }

  /** Takes the run back: ends what is under way, then undoes it. Asking again finds the undo; one that failed is tried again. */
  undo(runId: RunId, clusterId: GuestClusterId): OperationState {
    this.#throwIfClosing();
    const { journal } = this.#options;
    const id = operationIdOf(runId, "undo");
    this.#insistOnCluster(runId, clusterId);
    journal.ensureRun(runId, clusterId);
    journal.noteCall(runId);
    const found = journal.operation(id);
    if (found === undefined || found.state === "failed") {
      journal.beginOperation({ id, run_id: runId, cluster_id: clusterId, kind: "undo", input: "{}" });
    }
    this.#continue(id);
    return this.state(id);
  }

  /** @throws BackupError AGENT_OPERATION_UNKNOWN */
  state(id: string): OperationState {
    const row = this.#options.journal.operation(id);
    if (row === undefined) {
      throw new BackupError(
        "AGENT_OPERATION_UNKNOWN",
        `there is no operation ${id}; ask for it again with PUT`,
        {
          retry: "later",
          facts: { operationId: id },
        },
      );
    }
    return stateOf(row, this.#active.get(id)?.progress);
  }

  /** The state once the operation has ended, or after `waitMs` at the latest. */
  async wait(id: string, waitMs: number, signal: AbortSignal): Promise<OperationState> {
    const active = this.#active.get(id);
    this.noteCallFor(id);
    if (this.state(id).state === "running" && waitMs > 0 && !signal.aborted) {
      const waiting = new AbortController();
      const either = AbortSignal.any([signal, waiting.signal, this.#hurry.signal]);
      const pause = sleep(waitMs, undefined, { signal: either }).catch(() => undefined);
      await Promise.race([active?.done ?? pause, pause]);
      waiting.abort();
    }
    return this.state(id);
  }

  noteCallFor(id: string): void {
    const row = this.#options.journal.operation(id);
    if (row !== undefined) this.#options.journal.noteCall(row.run_id);
  }

  get runningOperations(): string[] {
    return this.#options.journal.runningOperations().map(({ id }) => id);
  }

  /** After a start: takes up what was under way. Operations that need the repository wait until its URL is sent again. */
  resume(): void {
    const { journal, ports } = this.#options;
    journal.forgetRunsEndedBefore(new Date(ports.clock().getTime() - KEEP_RUNS_MS));
    this.expireRuns();
    for (const { id, kind, run_id } of journal.runningOperations()) {
      const isUndone = journal.operation(operationIdOf(run_id, "undo"))?.state === "running";
      if (isUndone && kind !== "undo") this.#cancel(id);
      else this.#continue(id);
    }
  }

  /** Undoes every run whose control plane has been silent for too long. Call it now and then. */
  expireRuns(): void {
    const { journal, ports, runExpiryMs } = this.#options;
    const now = ports.clock().getTime();
    for (const { run_id, cluster_id, last_call_at } of journal.openRuns()) {
      if (now - Date.parse(last_call_at) < runExpiryMs) continue;
      const facts = new RunFacts(journal, run_id);
      const isUntouched = !facts.has("membersTouched") && !facts.has("restoreBegun");
      const isIdle = !journal.runningOperations().some((row) => row.run_id === run_id);
      if (isUntouched && isIdle) {
        journal.endRun(run_id);
        continue;
      }
      if (facts.has("allShipped") && !facts.has("committed")) facts.note("heldForCommit", {});
      facts.note("expired", {});
      ports.log("warn", "the control plane has been silent for too long; the run is undone", {
        runId: run_id,
        runExpiryMs,
      });
      this.undo(run_id, cluster_id);
    }
  }

  /** Lets every long poll have its answer now, so that the agent can stop without keeping anyone. */
  answerWaiting(): void {
    this.#hurry.abort();
  }

  /** Ends without finishing: what is under way stays in the journal and is taken up by the next start. */
  async close(): Promise<void> {
    this.answerWaiting();
    this.#closing.abort();
    for (const { abort } of this.#active.values()) abort.abort(new AgentStopping());
    await Promise.all([...this.#active.values()].map(({ done }) => done));
  }

  #begin(operation: Pick<OperationRow, "id" | "run_id" | "cluster_id" | "kind" | "input">): void {
    const { journal } = this.#options;
    const { run_id: runId, cluster_id: clusterId, id } = operation;
    const isUndone = journal.operation(operationIdOf(runId, "undo")) !== undefined;
    if (isUndone || (journal.run(runId)?.ended_at ?? null) !== null) {
      throw this.#endOf(runId, "AGENT_RUN_ENDED", "was undone or has ended; start a new run");
    }
    const busy = journal.runningOperations().find((row) => row.run_id === runId);
    if (busy !== undefined) {
      throw new BackupError("AGENT_RUN_BUSY", `${busy.id} is under way; ask for ${id} when it has ended`, {
        retry: "later",
        facts: { operationId: busy.id },
      });
    }
    journal.ensureRun(runId, clusterId);
    journal.beginOperation(operation);
  }

  #insistOnCluster(runId: RunId, clusterId: GuestClusterId): void {
    const known = this.#options.journal.run(runId);
    if (known !== undefined && known.cluster_id !== clusterId) throw conflict(runId, "another guest cluster");
  }

  /** Starts the operation unless it runs, has ended, or lacks the repository's URL. */
  #continue(id: string): void {
    const row = this.#options.journal.operation(id);
    if (row?.state !== "running" || this.#active.has(id) || this.#closing.signal.aborted) return;
    if (NEEDS_REPOSITORY.has(row.kind) && !this.#urls.has(id)) return;
    const abort = new AbortController();
    const active: Active = {
      ...{ abort, progress: undefined, progressNotedAtMs: 0 },
      done: Promise.resolve().then(() => this.#execute(row, abort.signal)),
    };
    this.#active.set(id, active);
  }

  async #execute(row: OperationRow, signal: AbortSignal): Promise<void> {
    const { journal, handlers, ports } = this.#options;
    const { id, kind, run_id: runId } = row;
    const began = performance.now();
    const ended = (): number => Math.round(performance.now() - began);
    try {
      if (kind === "undo") await this.#stopOthers(row);
      ports.log("info", "operation started", { operationId: id });
      const input = joinSecret(kind, row.input, this.#urls.get(id));
      const result = await runHandler(handlers, kind, input, this.#contextOf(row, signal));
      journal.succeed(id, result);
      ports.log("info", "operation succeeded", { operationId: id, durationMs: ended() });
      if (kind === "undo" || kind === "clean-up" || kind === "restore") await this.#endRun(runId);
    } catch (error) {
      if (isStopping(signal)) return; // the next start goes on
      const document = redactedDocument(error);
      journal.fail(id, document);
      ports.log("error", "operation failed", {
        ...{ operationId: id, durationMs: ended(), code: document.code, why: document.message },
      });
      if (document.code === "INTERNAL" && error instanceof Error) {
        ports.log("error", "stack of the defect", { operationId: id, stack: redact(error.stack ?? "") });
      }
    } finally {
      this.#active.delete(id);
      if (!isStopping(signal)) this.#urls.delete(id);
    }
  }

  /** Before an undo: nothing else of the run is under way. */
  async #stopOthers({ run_id, id }: OperationRow): Promise<void> {
    for (const other of this.#options.journal.runningOperations()) {
      if (other.run_id !== run_id || other.id === id) continue;
      const active = this.#active.get(other.id);
      active?.abort.abort(this.#undone(run_id));
      await active?.done;
      this.#cancel(other.id);
    }
  }

  #cancel(id: string): void {
    const row = this.#options.journal.operation(id);
    if (row?.state === "running") this.#options.journal.fail(id, this.#undone(row.run_id).toJSON());
  }

  #undone(runId: RunId): BackupError {
    return this.#endOf(runId, "CANCELLED", "is undone, so its operations were ended");
  }

  /** Why nothing more is done for a run. */
  #endOf(runId: RunId, code: "CANCELLED" | "AGENT_RUN_ENDED", what: string): BackupError {
    if (!new RunFacts(this.#options.journal, runId).has("expired")) {
      return new BackupError(code, `run ${runId} ${what}`, { facts: { runId } });
    }
    const { runExpiryMs } = this.#options;
    return new BackupError(
      "AGENT_RUN_EXPIRED",
      `run ${runId} was undone because its control plane was silent for ${runExpiryMs} ms; start a new run`,
      { facts: { runId, runExpiryMs } },
    );
  }

  async #endRun(runId: RunId): Promise<void> {
    this.#options.journal.endRun(runId);
    await rm(this.#runDirectory(runId), { recursive: true, force: true });
  }

  #runDirectory(runId: RunId): string {
    return join(this.#options.dataDirectory, "runs", runId);
  }

  #contextOf(row: OperationRow, signal: AbortSignal): OperationContext {
    const { journal, ports, limits } = this.#options;
    const { run_id: runId, cluster_id: clusterId, id } = row;
    return {
      ...ports,
      ...{ runId, clusterId, limits, signal, facts: new RunFacts(journal, runId) },
      runDirectory: this.#runDirectory(runId),
      otherRuns: () => this.#otherRuns(runId),
      reportProgress: (progress) => {
        const active = this.#active.get(id);
        if (active === undefined) return;
        active.progress = progress;
        const now = performance.now();
        if (now - active.progressNotedAtMs < NOTE_PROGRESS_EVERY_MS) return;
        active.progressNotedAtMs = now;
        journal.noteProgress(id, progress);
      },
      repositoryUrl: () => {
        const url = this.#urls.get(id);
        if (url === undefined) throw new RangeError("an operation without a repository asked for its URL");
        return url;
      },
    };
  }

  /**
   * Runs whose effects are still wanted. One whose undo failed is not among them: what it left counts as left behind, and does not
   * keep other runs from the members.
   */
  #otherRuns(except: RunId): { readonly runId: RunId; readonly members: readonly string[] }[] {
    const { journal } = this.#options;
    return journal
      .openRuns()
      .filter(({ run_id }) => run_id !== except)
      .filter(({ run_id }) => journal.operation(operationIdOf(run_id, "undo"))?.state !== "failed")
      .map(({ run_id: runId }) => ({
        runId,
        members: new RunFacts(journal, runId).get("membersTouched")?.members ?? [],
      }));
  }

  #throwIfClosing(): void {
    if (!this.#closing.signal.aborted) return;
    throw new BackupError(
      "AGENT_UNREACHABLE",
      "the agent is stopping; ask again when its service has started",
      { retry: "later" },
    );
  }
}

/** Reason of an abort that is no end: the operation goes on with the next start. */
class AgentStopping extends Error {
  override readonly name = "AbortError";

  constructor() {
    super("the agent is stopping");
  }
}

function isStopping(signal: AbortSignal): boolean {
  return signal.aborted && signal.reason instanceof AgentStopping;
}

async function runHandler(
  handlers: Handlers,
  kind: OperationKind,
  input: unknown,
  context: OperationContext,
): Promise<unknown> {
  // The handler's type follows from its kind, and this kind's schema checks the input just before; the compiler cannot pair the two.
  const handler = handlers[kind] as (input: unknown, context: OperationContext) => Promise<unknown>;
  return OPERATIONS[kind].result.parse(await handler(OPERATIONS[kind].input.parse(input), context));
}

function conflict(id: string, what: string): BackupError {
  return new BackupError("AGENT_OPERATION_CONFLICT", `${id} exists with ${what}; start a new run`, {
    facts: { id },
  });
}
