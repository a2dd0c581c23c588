import { unlink } from "node:fs/promises";
import { join } from "node:path";
import type { DiskId, OperationResult } from "../contracts/index.ts";
import { confineTarget } from "./confine-target.ts";
import { planRestore } from "./plan-restore.ts";
import type { RestoreSource } from "./source.ts";
import {
  exists,
  ignoreMissing,
  PARTIAL,
  proveFile,
  targetExists,
  writeDisk,
  type WriteOptions,
} from "./write-disk.ts";

export interface RestoreRequest {
  readonly source: RestoreSource;
  readonly manifest: string;
  /** Folders below which anything may be restored. */
  readonly roots: readonly string[];
  readonly targetDirectory: string;
  /** All disks when undefined. */
  readonly diskIds: readonly DiskId[] | undefined;
  /**
   * The same restore was cut off before: a file that has its final name already is proved again in place of being refused.
   */
  readonly isResumed: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: {
    readonly doneBytes: number;
    readonly totalBytes: number;
    readonly note: string;
  }) => void;
  /** Told the real folder and the file names before the first byte is written. */
  readonly onPlanned: (folder: string, fileNames: readonly string[]) => void;
}

/**
 * Writes disks of one restore point as VHDX files and proves each against its manifest. Refuses before it writes when one of the
 * files is there already.
 *
 * @throws BackupError RESTORE_PATH_REFUSED, RESTORE_DISK_UNKNOWN, RESTORE_TARGET_EXISTS, RESTORE_NOT_IDENTICAL, …
 */
export async function restoreDisks(request: RestoreRequest): Promise<OperationResult<"restore">["disks"]> {
  const { source, signal } = request;
  const planned = planRestore(await source.readDisks(request.manifest), request.diskIds);
  const folder = await confineTarget(request.roots, request.targetDirectory);
  for (const { fileName } of request.isResumed ? [] : planned) {
    const path = join(folder, fileName);
    if (await exists(path)) throw targetExists(path);
  }
  request.onPlanned(
    folder,
    planned.map(({ fileName }) => fileName),
  );

  const results: OperationResult<"restore">["disks"] = [];
  // A byte counts when it is written and again when it is proved.
  const totalBytes = planned.reduce((sum, { disk }) => sum + 2 * disk.virtualSizeBytes, 0);
  let before = 0;
  for (const each of planned) {
    const { disk, fileName } = each;
    const path = join(folder, fileName);
    const onProgress = (doneBytes: number) =>
      request.onProgress({ doneBytes: Math.min(before + doneBytes, totalBytes), totalBytes, note: fileName });
    const options: WriteOptions = { source, folder, signal, onProgress };
    let writtenBytes = 0;
    if (request.isResumed && (await exists(path))) await proveFile(path, each, options);
    else writtenBytes = await writeDisk(each, options);
    before += 2 * disk.virtualSizeBytes;
    const { diskId, label, virtualSizeBytes, mapRoot } = disk;
    // writeDisk and proveFile have thrown when it is not.
    results.push({ diskId, label, path, virtualSizeBytes, mapRoot, identical: true, writtenBytes });
  }
  return results;
}

/** Removes what a restore that was cut off left half written. Files that were proved and named stay. */
export async function removeUnfinished(folder: string, fileNames: readonly string[]): Promise<string[]> {
  const removed: string[] = [];
  for (const fileName of fileNames) {
    const path = join(folder, `${fileName}${PARTIAL}`);
    if (!(await exists(path))) continue;
    await unlink(path).catch(ignoreMissing);
    removed.push(path);
  }
  return removed;
}
