import type { OperationInput, OperationResult } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import { readChangeList } from "../change-list.ts";
import type { RunDisk } from "../journal/run-facts.ts";
import type { BackupTarget, DiskChanges } from "../repository-port.ts";
import { changeListFile } from "./change-ranges.ts";
import type { Handler, OperationContext } from "./operation.ts";

type Shipped = OperationResult<"ship">["disks"][number];

/**
 * Reads every disk from the storage snapshot and stores its chunks, several disks at once. A disk that is complete is noted, so a
 * restart goes on with the others; of a disk that was cut off, the chunks already stored are found again.
 */
export const ship: Handler<"ship"> = async ({ base }, context) => {
  const { facts } = context;
  const { disks } = facts.need("point", "consistency-point");
  const target = await context.repository.openForBackup(context.repositoryUrl);
  const progress = totalProgress(disks, context);
  const shipped = new Map<string, Shipped>();
  await inParallel(disks, context, async (disk, signal) => {
    const known = facts.get("shipped", disk.diskId);
    const result = known ?? (await shipDisk(disk, base, target, { ...context, signal }, progress));
    facts.note("shipped", { mapRoot: result.mapRoot, sizes: result.sizes }, disk.diskId);
    progress.finish(disk);
    shipped.set(disk.diskId, { diskId: disk.diskId, mapRoot: result.mapRoot, sizes: result.sizes });
  });
  facts.note("allShipped", {});
  return { disks: disks.flatMap(({ diskId }) => shipped.get(diskId) ?? []) };
};

async function shipDisk(
  disk: RunDisk,
  base: OperationInput<"ship">["base"],
  target: BackupTarget,
  context: OperationContext,
  progress: ReturnType<typeof totalProgress>,
): Promise<Pick<Shipped, "mapRoot" | "sizes">> {
  const { volumes } = context.facts.need("storageSnapshot", "consistency-point");
  const changes = await changesOf(disk, base, context);
  await using opened = await context.staticDisks.open(disk.staticPath, volumes);
  const { log, runId, signal } = context;
  log("info", "a disk is shipped", { runId, diskId: disk.diskId, path: disk.path, changes: changes.kind });
  return await target.backUpDisk({
    ...{ disk: opened.disk, changes, signal },
    onProgress: ({ doneBytes, totalBytes }) => progress.report(disk, doneBytes, totalBytes),
  });
}

async function changesOf(
  disk: RunDisk,
  bases: OperationInput<"ship">["base"],
  context: OperationContext,
): Promise<DiskChanges> {
  const { source, listDigest } = context.facts.need("changes", "change-ranges", disk.diskId);
  if (source.kind === "full") return { kind: "full" };
  const found = bases.find(({ diskId }) => diskId === disk.diskId);
  if (found === undefined) {
    throw new BackupError(
      "INPUT_INVALID",
      `disk ${disk.path} is to be shipped as changes (${source.kind}), but the request names no map root of its last restore point`,
      { facts: { diskId: disk.diskId } },
    );
  }
  const base = { mapRoot: found.mapRoot, sizeBytes: found.virtualSizeBytes };
  if (source.kind === "compare" || listDigest === null) return { kind: "compare", base };
  return { kind: "ranges", base, ranges: await readChangeList(changeListFile(context, disk), listDigest) };
}

/** Sums the disks' progress into the operation's. */
function totalProgress(disks: readonly RunDisk[], { reportProgress }: OperationContext) {
  const parts = new Map(disks.map(({ diskId, virtualSizeBytes: total }) => [diskId, { done: 0, total }]));
  const report = ({ diskId, path }: RunDisk, done: number, total: number): void => {
    parts.set(diskId, { done, total });
    const all = [...parts.values()];
    reportProgress({
      doneBytes: all.reduce((sum, part) => sum + part.done, 0),
      totalBytes: all.reduce((sum, part) => sum + part.total, 0),
      note: path.split(/[\\/]/).at(-1) ?? path,
    });
  };
  return {
    report,
    finish(disk: RunDisk): void {
      const total = parts.get(disk.diskId)?.total ?? 0;
      report(disk, total, total);
    },
  };
}

/** Works on at most `parallelDisks` at once; the first failure stops the others, and is the one that is thrown. */
async function inParallel(
  disks: readonly RunDisk[],
  context: OperationContext,
  work: (disk: RunDisk, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([context.signal, failed.signal]);
  const queue = disks.values();
  let firstError: { readonly error: unknown } | undefined;
  const worker = async () => {
    for (const disk of queue) {
      if (signal.aborted) return;
      try {
        await work(disk, signal);
      } catch (error) {
        firstError ??= { error };
        failed.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(context.limits.parallelDisks, disks.length) }, worker));
  if (firstError !== undefined) throw firstError.error;
  context.signal.throwIfAborted();
}
