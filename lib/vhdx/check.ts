import { BackupError } from "../errors/index.ts";
import type { ByteReader } from "./byte-file.ts";
import { collectingInspector, DEFECT_SECTIONS, NothingToGoOnWith, type Defect } from "./defects.ts";
import { readStructure } from "./structure.ts";

/**
 * Every defect of one file, with its section of [MS-VHDX], in the order in which the structures build on each other.
 * A structure that cannot be read at all (headers, log, tables) ends the list: what stands behind it cannot be judged.
 */
export async function checkVhdx(file: ByteReader): Promise<readonly Defect[]> {
  const found: Defect[] = [];
  try {
    await readStructure(file, collectingInspector(found));
  } catch (error) {
    if (error instanceof NothingToGoOnWith) return found;
    if (!(error instanceof BackupError) || error.code !== "VHDX_FILE_TOO_SHORT") throw error;
    found.push({
      code: error.code,
      section: DEFECT_SECTIONS[error.code],
      severity: "refuse",
      message: error.message,
    });
  }
  return found;
}
