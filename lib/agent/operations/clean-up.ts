import type { ReferencePoint } from "../../contracts/index.ts";
import { toErrorDocument } from "../../errors/index.ts";
import type { ReferencePointCollection } from "../hyperv-host.ts";
import type { Handler } from "./operation.ts";
import { isOurs, removeRunEffects, surveyLeftovers } from "./run-effects.ts";

/**
 * After the commit: releases the storage snapshot, drops the reference points that no manifest needs any more, and reads the host
 * anew to prove that nothing is left. What could not be removed comes back as leftover.
 */
export const cleanUp: Handler<"clean-up"> = async ({ keep }, context) => {
  const { facts, host, log, runId } = context;
  const { members } = facts.need("membersTouched", "consistency-point");
  facts.note("committed", { keep });
  await removeRunEffects(context, members, { referencePoints: false });

  const isKept = (collection: ReferencePointCollection) => holdsAny(collection, keep);
  const collections = await host.findReferencePoints(members);
  // When none of the wanted ones is there, something is not as we think: then an old one is better than none.
  const isSafe = collections.some(isKept);
  if (!isSafe)
    log("error", "none of the reference points to keep is on the host; older ones are not removed", {
      runId,
    });
  const active = new Set<string>(context.otherRuns().map((run) => run.runId));
  for (const collection of isSafe ? collections : []) {
    if (isKept(collection) || !isOurs(collection) || active.has(collection.tag)) continue;
    const id = collection.referencePointCollectionId;
    try {
      await host.destroyReferencePoint(id);
    } catch (error) {
      log("warn", "a reference point could not be removed", { runId, id, code: toErrorDocument(error).code });
    }
  }
  return { leftovers: await surveyLeftovers(context, members, isKept) };
};

function holdsAny({ disks }: ReferencePointCollection, keep: readonly ReferencePoint[]): boolean {
  return disks.some((disk) => keep.some(({ id, rctId }) => disk.id === id && disk.rctId === rctId));
}
