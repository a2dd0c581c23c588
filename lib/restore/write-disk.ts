import { link, open, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { BackupError } from "../errors/index.ts";
import { byteFileOf, createVhdxStream, openVhdx } from "../vhdx/index.ts";
import type { PlannedDisk } from "./plan-restore.ts";
import type { RestoreSource } from "./source.ts";

export const PARTIAL = ".partial";

export interface WriteOptions {
  readonly source: RestoreSource;
  /** Real path of the folder, confined already. */
  readonly folder: string;
  readonly signal: AbortSignal;
  /** Bytes of the disk that are written and proved so far; each counts once for either. */
  readonly onProgress: (doneBytes: number) => void;
}

/**
 * Writes one disk as `NAME.partial`, proves it by reading it back, and only then gives it its name. A file of that name is never
 * written over, and a wrong disk never gets it.
 *
 * @returns bytes written into the disk
 * @throws BackupError RESTORE_NOT_IDENTICAL, RESTORE_TARGET_EXISTS, or what reading the repository throws
 */
export async function writeDisk({ disk, fileName }: PlannedDisk, options: WriteOptions): Promise<number> {
  const { source, folder, signal, onProgress } = options;
  const partial = join(folder, `${fileName}${PARTIAL}`);
  await unlink(partial).catch(ignoreMissing);
  let writtenBytes = 0;
  try {
    {
      await using handle = await open(partial, "wx+", 0o600);
      const stream = await createVhdxStream(await byteFileOf(handle), {
        sizeBytes: disk.virtualSizeBytes,
        blockBytes: disk.blockBytes,
        logicalSectorBytes: disk.logicalSectorBytes,
        physicalSectorBytes: disk.physicalSectorBytes,
        diskId: disk.diskId,
      });
      for await (const { offsetBytes, data } of source.readContent(disk, signal)) {
        signal.throwIfAborted();
        await stream.write(offsetBytes, data);
        writtenBytes += data.length;
        onProgress(offsetBytes + data.length);
      }
      await stream.finish();
      await handle.sync();
    }
    await proveFile(partial, { disk, fileName }, options);
    await giveName(partial, join(folder, fileName));
  } catch (error) {
    await unlink(partial).catch(ignoreMissing);
    throw error;
  }
  await syncFolder(folder);
  return writtenBytes;
}

/** @throws BackupError RESTORE_NOT_IDENTICAL */
export async function proveFile(
  path: string,
  { disk, fileName }: PlannedDisk,
  options: WriteOptions,
): Promise<void> {
  const { source, signal, onProgress } = options;
  await using handle = await open(path, "r");
  const image = await openVhdx(await byteFileOf(handle));
  const mapRoot = await source.computeMapRoot(image, {
    signal,
    onProgress: (doneBytes) => onProgress(disk.virtualSizeBytes + doneBytes),
  });
  if (mapRoot === disk.mapRoot && image.sizeBytes === disk.virtualSizeBytes) return;
  throw new BackupError(
    "RESTORE_NOT_IDENTICAL",
    `${fileName}: the restored file has the digest ${mapRoot}, the restore point says ${disk.mapRoot}; restore again and check the disk it is on`,
    { facts: { diskId: disk.diskId, found: mapRoot, expected: disk.mapRoot } },
  );
}

/** A link fails where a rename would silently replace; a file system without links gets a rename behind a look. */
async function giveName(partial: string, path: string): Promise<void> {
  try {
    await link(partial, path);
    await unlink(partial);
  } catch (error) {
    if (codeOf(error) === "EEXIST" || (await exists(path))) throw targetExists(path);
    await rename(partial, path);
  }
}

export function targetExists(path: string): BackupError {
  return new BackupError(
    "RESTORE_TARGET_EXISTS",
    `${path} is there already and is not written over; choose an empty directory`,
    { retry: "after-operator", facts: { path } },
  );
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Makes the new name survive a power cut, where folders can be synced (not on Windows). */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  await using handle = await open(folder, "r");
  await handle.sync();
}

export function ignoreMissing(error: unknown): void {
  if (codeOf(error) !== "ENOENT") throw error;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
