import type { ByteReader } from "./byte-file.ts";
import { defectError, strictInspector } from "./defects.ts";
import { Image } from "./image.ts";
import { readStructure, type Structure } from "./structure.ts";
import type { VhdxImage } from "./virtual-disk.ts";

/**
 * Opens one file to read it. A dirty log is replayed in memory: the file is never changed. Every structure and
 * every BAT entry is checked before the first byte is read.
 *
 * @param options.parent the parent of a differencing disk; without it only what the file itself holds can be read
 * @throws BackupError with a VHDX_ code that names the broken rule
 */
export async function openVhdx(
  file: ByteReader,
  options: { readonly parent?: VhdxImage } = {},
): Promise<VhdxImage> {
  return imageOf(await readStructure(file, strictInspector), options.parent);
}

/** Puts an image on its parent, after the checks that the specification demands of the link (§2.6.2.6.3, §2.6.2.4). */
export function imageOf(structure: Structure, parent: VhdxImage | undefined): Image {
  const locator = structure.metadata.parentLocator;
  if (parent === undefined || locator === undefined) return new Image(structure, undefined);
  if (!locator.linkages.includes(parent.dataWriteGuid)) {
    throw defectError(
      "VHDX_PARENT_LINKAGE_MISMATCH",
      `the parent has the content ${parent.dataWriteGuid}, but the child was made on ${locator.linkages.join(" or ")}; ` +
        "the parent was changed after the checkpoint, or is another file",
    );
  }
  if (parent.logicalSectorBytes !== structure.metadata.logicalSectorBytes) {
    throw defectError(
      "VHDX_PARENT_SECTOR_SIZE_MISMATCH",
      `the parent has sectors of ${parent.logicalSectorBytes} bytes, the child of ${structure.metadata.logicalSectorBytes}`,
    );
  }
  return new Image(structure, parent);
}
