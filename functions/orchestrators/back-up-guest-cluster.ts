import type { OrchestrationContext, Task } from "durable-functions";
import {
  BackupRequest,
  claimGuestCluster,
  commitRestorePoint,
  planBackup,
  recordRun,
  releaseGuestCluster,
  type OperationResult,
  type RestorePointDraft,
  type RunRecord,
} from "../../lib/contracts/index.ts";
import { BackupError, type ErrorDocument } from "../../lib/errors/index.ts";
import {
  draftRestorePoint,
  endOfCommitted,
  endOfFailed,
  errorOfTask,
  isRefused,
  refusal,
} from "../../lib/orchestration/index.ts";
import { call, operate } from "./call.ts";
import { RunJournal } from "./run-journal.ts";

/**
 * Backs up one guest cluster: claim → preflight → consistency point → references → changes → ship → commit → clean up.
 * Until the commit every failure is taken back by the agent's undo; from the commit on the restore point stands, and what the
 * clean-up could not finish is reported as a leftover. The steps are those of docs/architecture.md, "A backup run".
 */
export function* backUpGuestCluster(context: OrchestrationContext): Generator<Task, RunRecord, unknown> {
  const request = BackupRequest.parse(context.df.getInput());
  const { clusterId, runId, trigger } = request;
  const journal = new RunJournal(context, { clusterId, runId, kind: "backup", trigger });

  const claim = yield* journal.step("claim", call(context, claimGuestCluster, { clusterId, runId }));
  if (claim.kind === "held") {
    const record = journal.end({ state: "refused", error: heldElsewhere(clusterId, claim) });
    yield* keepRecord(context, record);
    return record;
  }

  const record = yield* backUpClaimed(context, request, journal);
  yield* keepRecord(context, record);
  yield* call(context, releaseGuestCluster, { clusterId, runId });
  return record;
}

function* backUpClaimed(
  context: OrchestrationContext,
  request: BackupRequest,
  journal: RunJournal,
): Generator<Task, RunRecord, unknown> {
  const { clusterId, runId } = request;
  yield* keepRecord(context, journal.record);

  let plan;
  let draft: RestorePointDraft;
  let target;
  let isTouched = false;
  try {
    plan = yield* journal.step("plan", call(context, planBackup, { clusterId, runId }));
    const { cluster, previous } = plan;
    const { members, consistency, includePrivateDisks, frozenDeadlineMs } = cluster;
    target = { clusterId, runId, agentId: cluster.agentId };

    const preflight = yield* journal.step(
      "preflight",
      operate(context, target, "preflight", { members, consistency }),
    );
    journal.note({ findings: preflight.findings });
    if (isRefused(preflight.findings))
      return journal.end({ state: "refused", error: refusal(preflight.findings) });

    isTouched = true;
    const pointInput = { members, consistency, includePrivateDisks, frozenDeadlineMs };
    const point = yield* journal.step(
      "consistency-point",
      operate(context, target, "consistency-point", pointInput),
    );
    journal.note({ point });
    const references = yield* journal.step(
      "update-references",
      operate(context, target, "update-references", {}),
    );
    const known = previous?.disks ?? [];
    const changes = yield* journal.step(
      "change-ranges",
      operate(context, target, "change-ranges", {
        requested: request.requested,
        previous: known.map(({ diskId, virtualSizeBytes, referencePoint }) => {
          return { diskId, virtualSizeBytes, referencePoint };
        }),
      }),
    );
    const base = known.map(({ diskId, mapRoot, virtualSizeBytes }) => ({
      diskId,
      mapRoot,
      virtualSizeBytes,
    }));
    const shipped = yield* journal.step("ship", operate(context, target, "ship", { base }));

    const results = { point, references, changes, shipped };
    draft = draftRestorePoint(request, results, previous?.manifest ?? null, context.df.currentUtcDateTime);
    const committed = yield* journal.step("commit", call(context, commitRestorePoint, draft));
    journal.note({ restorePoint: committed.manifest, disks: summarise(draft) });
  } catch (thrown) {
    const error = errorOfTask(thrown);
    if (target === undefined || !isTouched) return journal.end({ state: "undone", error });
    return yield* takeBack(context, target, journal, error);
  }
  return yield* cleanUp(context, target, journal, draft);
}

/** A record that cannot be written does not change what the run does or how it ended: the orchestration's output has it too. */
function* keepRecord(context: OrchestrationContext, record: RunRecord): Generator<Task, void, unknown> {
  try {
    yield* call(context, recordRun, record);
  } catch (thrown) {
    const { code, message } = errorOfTask(thrown);
    if (!context.df.isReplaying)
      context.error(`run ${record.runId}: its record could not be written: ${code}: ${message}`);
  }
}

type Target = Parameters<typeof operate>[1];

/** Before the commit: the agent undoes the run, newest effect first, and keeps the previous references. */
function* takeBack(
  context: OrchestrationContext,
  target: Target,
  journal: RunJournal,
  error: ErrorDocument,
): Generator<Task, RunRecord, unknown> {
  try {
    const { leftovers } = yield* journal.step("undo", operate(context, target, "undo", {}));
    return journal.end({ state: endOfFailed(leftovers, undefined), error, leftovers });
  } catch (thrown) {
    const undoError = errorOfTask(thrown);
    return journal.end({ state: endOfFailed([], undoError), error, undoError });
  }
}

/** After the commit: nothing here can take the restore point away again. */
function* cleanUp(
  context: OrchestrationContext,
  target: Target,
  journal: RunJournal,
  draft: RestorePointDraft,
): Generator<Task, RunRecord, unknown> {
  const keep = draft.disks.map(({ referencePoint }) => referencePoint);
  let cleaned: OperationResult<"clean-up">;
  try {
    cleaned = yield* journal.step("clean-up", operate(context, target, "clean-up", { keep }));
  } catch (thrown) {
    const undoError = errorOfTask(thrown);
    return journal.end({ state: endOfCommitted([], undoError), undoError });
  }
  return journal.end({ state: endOfCommitted(cleaned.leftovers, undefined), leftovers: cleaned.leftovers });
}

function summarise(draft: RestorePointDraft): NonNullable<RunRecord["disks"]> {
  return draft.disks.map(({ diskId, source, sizes }) => {
    const label = draft.point.disks.find((disk) => disk.diskId === diskId)?.label ?? diskId;
    return { diskId, label, source, sizes };
  });
}

function heldElsewhere(
  clusterId: string,
  held: { readonly byRun: string; readonly byControlPlane: string },
): ErrorDocument {
  return new BackupError(
    "GUEST_CLUSTER_HELD",
    `guest cluster ${clusterId} is held by run ${held.byRun} of the control plane ${held.byControlPlane}; ` +
      "only one control plane may back it up: remove it from one of the two",
    { retry: "after-operator", facts: { clusterId, byRun: held.byRun, byControlPlane: held.byControlPlane } },
  ).toJSON();
}
