import type { OrchestrationContext, Task } from "durable-functions";
import { recordRun, RestoreRequest, type RunRecord } from "../../lib/contracts/index.ts";
import { errorOfTask } from "../../lib/orchestration/index.ts";
import { call, operate } from "./call.ts";
import { RunJournal } from "./run-journal.ts";

/**
 * Restores the disks of one restore point to files on the agent's host. The agent proves each disk against the manifest before
 * the file gets its final name; a restore that is not proved leaves no file that could be mistaken for one.
 */
export function* restoreGuestCluster(context: OrchestrationContext): Generator<Task, RunRecord, unknown> {
  const request = RestoreRequest.parse(context.df.getInput());
  const { clusterId, runId, agentId, manifest, targetDirectory, diskIds } = request;
  const journal = new RunJournal(context, { clusterId, runId, kind: "restore", trigger: "request" });
  journal.note({ restorePoint: manifest });
  yield* call(context, recordRun, journal.record);

  const record = yield* restore();
  yield* call(context, recordRun, record);
  return record;

  function* restore(): Generator<Task, RunRecord, unknown> {
    const target = { clusterId, runId, agentId };
    const input = { manifest, targetDirectory, ...(diskIds === undefined ? {} : { diskIds }) };
    try {
      const { disks } = yield* journal.step("restore", operate(context, target, "restore", input));
      return journal.end({ state: "restored", restored: disks });
    } catch (thrown) {
      return journal.end({ state: "failed", error: errorOfTask(thrown) });
    }
  }
}
