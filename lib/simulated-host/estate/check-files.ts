import { readdir } from "node:fs/promises";
import { openVhdx } from "../../vhdx/index.ts";
import { FolderFiles } from "../disks/folder-files.ts";
import { checkWriterDisks, type CheckOptions, type WriterCheck } from "../writers/check.ts";
import type { DiskReader } from "../writers/superblock.ts";

/**
 * Checks the writers' rules on the disks of a folder, restored ones for example: every `.vhdx` and `.avhdx` that is no parent of
 * another there, with its parents. Which disk is which is read from the disks.
 *
 * @throws BackupError what a damaged disk file makes the reader say
 */
export async function checkDiskFiles(folder: string, options: CheckOptions = {}): Promise<WriterCheck> {
  await using files = new FolderFiles(folder);
  const names = (await readdir(folder)).filter((name) => /\.a?vhdx$/i.test(name)).sort();
  const parents = new Set<string>();
  for (const name of names) {
    if (!(await openVhdx(await files.open(name, "r"))).hasParent) continue;
    for (const parent of (await files.chain(name)).files.slice(1)) parents.add(parent);
  }
  const disks: DiskReader[] = [];
  for (const name of names) if (!parents.has(name)) disks.push(await files.chain(name));
  return await checkWriterDisks(disks, options);
}
