import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import * as z from "zod";
import { FolderFiles } from "../disks/folder-files.ts";
import { checkWriterDisks, type CheckOptions, type WriterCheck } from "../writers/check.ts";
import type { DiskReader } from "../writers/superblock.ts";
import { loadEstate, stateFile, volumeFolder } from "./layout.ts";
import { lockEstate } from "./lock.ts";

/**
 * Checks the writers' rules on the files of an estate that nobody runs, as a reader: its chains are opened read only.
 *
 * @throws BackupError SIMULATED_ESTATE_INVALID, SIMULATED_ESTATE_IN_USE, or what a damaged disk file makes the reader say
 */
export async function checkEstate(givenFolder: string, options: CheckOptions = {}): Promise<WriterCheck> {
  const folder = resolve(givenFolder);
  const layout = loadEstate(folder);
  using _lock = lockEstate(folder);
  const active = existsSync(stateFile(folder))
    ? ActiveFiles.parse(JSON.parse(readFileSync(stateFile(folder), "utf8"))).activeFiles
    : {};
  await using stack = new AsyncDisposableStack();
  const disks: DiskReader[] = [];
  for (const { diskId, volume, baseFile } of layout.disks) {
    const files = stack.use(new FolderFiles(volumeFolder(folder, volume)));
    disks.push(await files.chain(active[diskId] ?? baseFile));
  }
  return await checkWriterDisks(disks, options);
}

const ActiveFiles = z.object({ activeFiles: z.record(z.string(), z.string()) });
