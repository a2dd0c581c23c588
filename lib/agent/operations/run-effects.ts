import type { Leftover, VmId } from "../../contracts/index.ts";
import { RunId } from "../../contracts/index.ts";
import { BackupError, toErrorDocument } from "../../errors/index.ts";
import type { HyperVHost, ReferencePointCollection } from "../hyperv-host.ts";
import { findSettled } from "./host-effect.ts";
import type { OperationContext } from "./operation.ts";

export interface Removed {
  /** One line for each thing that was taken away. */
  readonly removed: readonly string[];
  readonly failures: readonly { readonly what: string; readonly error: unknown }[];
}

/**
 * Takes away what carries the run's tag on the host, newest effect first, and goes on when one cannot be removed. What is there is
 * asked of the host, not of the journal, so it is right after any crash and costs nothing when called again. What the host may still be
 * finishing for an agent that was cut off is waited for.
 */
export async function removeRunEffects(
  context: Pick<OperationContext, "host" | "runId" | "log" | "facts" | "clock" | "pause" | "signal">,
  members: readonly VmId[],
  options: { readonly referencePoints: boolean },
): Promise<Removed> {
  const { host, runId, log } = context;
  const removed: string[] = [];
  const failures: { what: string; error: unknown }[] = [];
  const attempt = async (what: string, act: () => Promise<void>) => {
    try {
      await act();
    } catch (error) {
      failures.push({ what, error });
      log("warn", "an effect of a run could not be removed", {
        runId,
        what,
        code: toErrorDocument(error).code,
      });
    }
  };
  const remove = (what: string, act: () => Promise<void>) =>
    attempt(what, async () => {
      await act();
      removed.push(what);
    });

  if (options.referencePoints && members.length > 0) {
    await attempt("find reference points", async () => {
      for (const { tag, referencePointCollectionId: id } of await host.findReferencePoints(members)) {
        if (tag === runId) await remove(`reference point ${id}`, () => host.destroyReferencePoint(id));
      }
    });
  }
  const isOwn = ({ tag }: { readonly tag: string }) => tag === runId;
  await attempt("find storage snapshots", async () => {
    const find = async () => (await host.findStorageSnapshots()).filter(isOwn);
    for (const { storageSnapshotId: id } of await findSettled(context, "storageSnapshotCreation", find)) {
      await remove(`storage snapshot ${id}`, () => host.releaseStorageSnapshot(id));
    }
  });
  if (members.length > 0) {
    await attempt("find recovery checkpoints", async () => {
      const find = async () => (await host.findRecoveryCheckpoints(members)).filter(isOwn);
      for (const { snapshotCollectionId: id } of await findSettled(context, "checkpointCreation", find)) {
        await remove(`recovery checkpoint ${id}`, () => host.destroyRecoveryCheckpoint(id));
      }
    });
  }
  return { removed, failures };
}

/** @throws BackupError UNDO_INCOMPLETE naming everything that could not be removed */
export function insistOnRemoval(runId: string, { failures }: Removed): void {
  const [first] = failures;
  if (first === undefined) return;
  const list = failures.map(({ what, error }) => `${what}: ${toErrorDocument(error).message}`).join("; ");
  throw new BackupError(
    "UNDO_INCOMPLETE",
    `run ${runId} could not be taken back completely: ${list}; ask for the undo again`,
    {
      retry: "later",
      facts: { runId, failures: failures.length, code: toErrorDocument(first.error).code },
      cause: first.error,
    },
  );
}

/**
 * What is left on the host, read anew: whatever `findLeftovers` knows, and our own reference points that `isNeeded` does not want.
 * Things of runs that are still under way are no leftovers.
 */
export async function surveyLeftovers(
  context: Pick<OperationContext, "host" | "otherRuns">,
  members: readonly VmId[],
  isNeeded: (collection: ReferencePointCollection) => boolean,
): Promise<Leftover[]> {
  const { host } = context;
  const active = new Set<string>(context.otherRuns().map(({ runId }) => runId));
  const inUse = await idsOfRuns(host, members, active);
  const collections = members.length === 0 ? [] : await host.findReferencePoints(members);
  const unneeded = collections.filter(
    (collection) => isOurs(collection) && !active.has(collection.tag) && !isNeeded(collection),
  );
  const found = (await host.findLeftovers(members)).filter(
    ({ id, kind }) => kind !== "reference-point" && !inUse.has(id),
  );
  return [
    ...found,
    ...unneeded.map(({ referencePointCollectionId: id, tag }): Leftover => {
      const remedy = "it costs nothing but tracking; the clean-up of the next run removes it";
      return { kind: "reference-point", id, subject: tag, remedy };
    }),
  ];
}

/** Whether a run of this product made it: the tag is a run id. Other products' reference points are none of our business. */
export function isOurs({ tag }: { readonly tag: string }): boolean {
  return RunId.safeParse(tag).success;
}

async function idsOfRuns(
  host: HyperVHost,
  members: readonly VmId[],
  runs: ReadonlySet<string>,
): Promise<ReadonlySet<string>> {
  if (runs.size === 0) return new Set();
  const snapshots = await host.findStorageSnapshots();
  const checkpoints = members.length === 0 ? [] : await host.findRecoveryCheckpoints(members);
  return new Set([
    ...snapshots.filter(({ tag }) => runs.has(tag)).map(({ storageSnapshotId }) => storageSnapshotId),
    ...checkpoints.filter(({ tag }) => runs.has(tag)).map(({ snapshotCollectionId }) => snapshotCollectionId),
  ]);
}
