import { BackupError } from "../../errors/index.ts";
import type { ReferencePointCollection, VhdSetInformation } from "../hyperv-host.ts";
import type { RunDisk } from "../journal/run-facts.ts";
import type { Handler, OperationContext } from "./operation.ts";

/** How often the host is asked whether a chain is merged. */
const MERGE_POLL_MS = 1_000;

/**
 * Converts the checkpoint to reference points, then proves it by reading the VHD Sets back: chain merged, new entry there. The
 * previous reference points stay. Cut off in the middle it goes on where the host is.
 */
export const updateReferences: Handler<"update-references"> = async (_input, context) => {
  const { facts, host } = context;
  const { disks } = facts.need("point", "consistency-point");
  const { members } = facts.need("membersTouched", "consistency-point");
  facts.note("referencesBegun", {});
  const collection = await convert(context, members);
  const points = disks.map(({ diskId, path }) => {
    const point = collection.disks.find((each) => each.diskId === diskId);
    if (point === undefined)
      throw unproved(
        context.runId,
        `disk ${path} has no reference point in ${collection.referencePointCollectionId}`,
      );
    return { diskId, referencePoint: { id: point.id, rctId: point.rctId } };
  });
  for (const disk of disks.filter(({ shared }) => shared)) {
    const referenceId = points.find(({ diskId }) => diskId === disk.diskId)?.referencePoint.id ?? "";
    await proveSet(disk, referenceId, context);
  }
  const stale = (await host.findRecoveryCheckpoints(members)).find(({ tag }) => tag === context.runId);
  if (stale !== undefined)
    throw unproved(context.runId, `the checkpoint ${stale.snapshotCollectionId} is still there`);
  const { referencePointCollectionId } = collection;
  facts.note("references", { referencePointCollectionId, disks: points });
  return { disks: points };
};

async function convert(
  { host, runId, signal, log }: OperationContext,
  members: Parameters<OperationContext["host"]["findReferencePoints"]>[0],
): Promise<ReferencePointCollection> {
  const checkpoint = (await host.findRecoveryCheckpoints(members)).find(({ tag }) => tag === runId);
  signal.throwIfAborted();
  if (checkpoint !== undefined) {
    try {
      return await host.convertToReferencePoint(checkpoint.snapshotCollectionId);
    } catch (error) {
      // The conversion may have been under way from before a crash and have ended meanwhile: then its result is there.
      const isGone = error instanceof BackupError && error.code === "HYPERV_OBJECT_MISSING";
      if (!isGone) throw error;
      log("info", "the checkpoint was converted meanwhile", { runId });
    }
  }
  const found = (await host.findReferencePoints(members)).find(({ tag }) => tag === runId);
  if (found !== undefined) return found;
  throw new BackupError(
    "CHECKPOINT_LOST",
    `the recovery checkpoint of run ${runId} is gone and no reference point came of it; start a new run, it is incremental`,
    { facts: { runId } },
  );
}

/** A private disk's chain is the concern of its checkpoint alone; a VHD Set can be read back, so it is. */
async function proveSet(disk: RunDisk, referenceId: string, context: OperationContext): Promise<void> {
  const { host, limits, pause, signal, runId } = context;
  let doubt: string | undefined;
  for (let waitedMs = 0; waitedMs <= limits.mergeWaitMs; waitedMs += MERGE_POLL_MS) {
    if (waitedMs > 0) await pause(MERGE_POLL_MS, signal);
    doubt = doubtOf(await host.getVhdSetInformation(disk.path), referenceId);
    if (doubt === undefined) return;
  }
  throw unproved(runId, `${disk.path}: ${doubt ?? "not asked"}`);
}

/** What speaks against the set having taken the reference point; undefined when nothing does. */
export function doubtOf({ chain, entries }: VhdSetInformation, referenceId: string): string | undefined {
  if (chain.length !== 1) return `its chain has ${chain.length} files in place of 1`;
  if (!entries.some(({ snapshotId }) => snapshotId === referenceId)) return `it has no entry ${referenceId}`;
  return undefined;
}

function unproved(runId: string, doubt: string): BackupError {
  return new BackupError(
    "REFERENCE_UPDATE_UNPROVED",
    `the new reference points of run ${runId} cannot be proved: ${doubt}; the previous ones stay, start a new run`,
    { facts: { runId } },
  );
}
