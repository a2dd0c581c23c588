import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { RunRecord, type GuestClusterId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";

/** The HTTP API of the function app, as `gcb` and the demo use it. */
export interface ControlPlane {
  readonly url: string;
  startBackup(clusterId: GuestClusterId, requested?: "incremental" | "full" | "compare"): Promise<StartedRun>;
  startRestore(
    clusterId: GuestClusterId,
    request: { readonly restorePoint: string; readonly targetDirectory: string },
  ): Promise<StartedRun>;
  /** Waits until the orchestration is over, and gives its run record. */
  follow(run: StartedRun, onStep: (step: string) => void, signal: AbortSignal): Promise<RunRecord>;
}

const StartedRun = z.object({
  runId: z.string(),
  instanceId: z.string(),
  statusQueryGetUri: z.url(),
  run: z.url(),
});
export type StartedRun = z.infer<typeof StartedRun>;

const Status = z.object({
  runtimeStatus: z.string(),
  customStatus: z.object({ step: z.string() }).partial().nullish(),
  output: z.unknown(),
});

const ENDED: ReadonlySet<string> = new Set(["Completed", "Failed", "Terminated", "Canceled"]);

/** @param functionKey key of the function app; sent in `x-functions-key` */
export function connectControlPlane(url: string, functionKey: string): ControlPlane {
  const headers = { "x-functions-key": functionKey, "content-type": "application/json" };

  async function post(path: string, body: unknown): Promise<StartedRun> {
    const response = await fetch(new URL(path, url), { method: "POST", headers, body: JSON.stringify(body) });
    const answer: unknown = await response.json().catch(() => undefined);
    if (response.status !== 202) throw refused(`POST ${path}`, response.status, answer);
    return StartedRun.parse(answer);
  }

  return {
    url,
    startBackup: (clusterId, requested = "incremental") => {
      return post(`/api/guest-clusters/${clusterId}/backups`, { requested });
    },
    startRestore: (clusterId, request) => post(`/api/guest-clusters/${clusterId}/restores`, request),
    async follow(run, onStep, signal) {
      let answeredAt = performance.now();
      for (;;) {
        const status = await statusOf(run, signal);
        if (status !== undefined) answeredAt = performance.now();
        else if (performance.now() - answeredAt > SILENCE_MS) throw silent(run);
        if (status?.customStatus?.step !== undefined) onStep(status.customStatus.step);
        if (status !== undefined && ENDED.has(status.runtimeStatus)) {
          const record = RunRecord.safeParse(status.output);
          if (record.success) return record.data;
          const why = typeof status.output === "string" ? status.output : JSON.stringify(status.output);
          throw new BackupError("ACTIVITY_FAILED", `run ${run.runId} ended ${status.runtimeStatus}: ${why}`);
        }
        await sleep(200, undefined, { signal });
      }
    },
  };

  /** Undefined while the function app cannot be reached: it may be restarting, and a run survives that. */
  async function statusOf(run: StartedRun, signal: AbortSignal): Promise<z.infer<typeof Status> | undefined> {
    try {
      // The status URL brings its own key.
      const response = await fetch(run.statusQueryGetUri, { signal });
      if (response.status >= 500 || response.status === 404) return undefined;
      if (!response.ok) throw refused(`GET ${run.runId}`, response.status, await response.text());
      return Status.parse(await response.json());
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof z.ZodError || error instanceof BackupError) throw error;
      return undefined;
    }
  }
}

/** A function app that restarts is back within seconds; a run that is unknown for so long is not there any more. */
const SILENCE_MS = 2 * 60_000;

function silent({ runId }: StartedRun): BackupError {
  return new BackupError(
    "RUN_UNKNOWN",
    `the function app has said nothing of run ${runId} for two minutes; read its log`,
    {
      retry: "later",
      facts: { runId },
    },
  );
}

const Problem = z.object({ code: z.string(), detail: z.string() });

function refused(what: string, status: number, answer: unknown): BackupError {
  const problem = Problem.safeParse(answer).data;
  const why = problem === undefined ? JSON.stringify(answer) : `${problem.code}: ${problem.detail}`;
  return new BackupError("ACTIVITY_FAILED", `${what} was answered ${String(status)}: ${why}`, {
    facts: { status, ...(problem === undefined ? {} : { code: problem.code }) },
  });
}
