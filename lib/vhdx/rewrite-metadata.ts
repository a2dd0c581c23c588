import { defectError } from "./defects.ts";
import type { Image } from "./image.ts";
import { encodeItems, type ItemContent } from "./metadata.ts";
import { PAGES_PER_ENTRY } from "./log-writer.ts";
import type { WriteSession } from "./write-session.ts";

/** All items of a file with their content, in the order of the table. */
export async function readItemContents({ structure, cache }: Image): Promise<ItemContent[]> {
  const contents: ItemContent[] = [];
  for (const item of structure.metadata.items) {
    const bytes = new Uint8Array(item.lengthBytes);
    await cache.read(structure.regionTable.metadata.offsetBytes + item.offsetBytes, bytes);
    const flags = (item.isUser ? 1 : 0) | (item.isVirtualDisk ? 2 : 0) | (item.isRequired ? 4 : 0);
    contents.push({ id: item.id, flags, bytes });
  }
  return contents;
}

/**
 * Lays all items out anew and commits them in one log entry, as the last change of a session: the places of items
 * that the session's image knows are the former ones. The caller has called `begin`.
 */
export async function rewriteMetadata(
  session: WriteSession,
  contents: readonly ItemContent[],
): Promise<void> {
  const { metadata: region } = session.image.structure.regionTable;
  const bytes = encodeItems(contents);
  await session.commit();
  await session.image.cache.write(region.offsetBytes, bytes);
  if (bytes.length > region.lengthBytes || session.image.cache.changedSectors > PAGES_PER_ENTRY) {
    throw defectError(
      "VHDX_METADATA_TOO_LONG",
      `the metadata of ${bytes.length} bytes cannot be changed in one step`,
    );
  }
  await session.commit();
}
