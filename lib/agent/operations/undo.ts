import { removeUnfinished } from "../../restore/index.ts";
import type { Handler } from "./operation.ts";
import { insistOnRemoval, removeRunEffects, surveyLeftovers } from "./run-effects.ts";

/**
 * Takes the run back, newest effect first; the previous reference points stay, so that the next run is incremental. Of a run whose
 * restore point was committed, the reference points stay too.
 */
export const undo: Handler<"undo"> = async (_input, context) => {
  const { facts, runId } = context;
  const restore = facts.get("restoreBegun");
  if (restore !== undefined) {
    const removed = await removeUnfinished(restore.targetDirectory, restore.fileNames);
    return { undone: removed.map((path) => `unfinished file ${path}`), leftovers: [] };
  }
  const touched = facts.get("membersTouched");
  // Without a fact the run changed nothing that this agent knows of; a storage snapshot is found by its tag all the same.
  const members = touched?.members ?? [];
  const isCommitted = facts.has("committed") || facts.has("heldForCommit");
  const outcome = await removeRunEffects(context, members, { referencePoints: !isCommitted });
  insistOnRemoval(runId, outcome);
  const leftovers = touched === undefined ? [] : await surveyLeftovers(context, members, () => true);
  return { undone: [...outcome.removed], leftovers };
};
