import { defectError } from "./defects.ts";
import type { ByteFile } from "./byte-file.ts";
import { locatorPairs, type ParentReference } from "./create.ts";
import type { Guid } from "./guid.ts";
import { KNOWN_ITEMS } from "./metadata.ts";
import { encodeParentLocator } from "./parent-locator.ts";
import { readItemContents, rewriteMetadata } from "./rewrite-metadata.ts";
import { openSession, type WriteSession } from "./write-session.ts";

/**
 * Ties a differencing disk to another parent, or to the same one at another place: linkage and paths are written
 * anew, in one step. The content that the child stores is not touched: it is the caller who knows that it fits.
 *
 * @throws BackupError VHDX_LOCATOR_MISSING when the file has no parent to replace, VHDX_PARENT_SECTOR_SIZE_MISMATCH
 */
export async function setParent(
  file: ByteFile,
  parent: ParentReference,
  options: { readonly newGuid?: () => Guid } = {},
): Promise<void> {
  const session = await openSession(file, undefined, options.newGuid ?? (() => crypto.randomUUID()));
  if (parent.image.logicalSectorBytes !== session.image.logicalSectorBytes) {
    throw defectError(
      "VHDX_PARENT_SECTOR_SIZE_MISMATCH",
      `the new parent has sectors of ${parent.image.logicalSectorBytes} bytes, the child of ${session.image.logicalSectorBytes}`,
    );
  }
  await writeLocator(session, locatorPairs(parent));
  await session.close();
}

/** Replaces the pairs of a file's parent locator. */
export async function writeLocator(session: WriteSession, pairs: ReadonlyMap<string, string>): Promise<void> {
  if (!session.image.hasParent) {
    throw defectError("VHDX_LOCATOR_MISSING", "the disk has no parent, so its parent cannot be set");
  }
  await session.begin(false);
  const contents = await readItemContents(session.image);
  await rewriteMetadata(
    session,
    contents.map((each) =>
      each.id === KNOWN_ITEMS.parentLocator.id && (each.flags & 1) === 0
        ? { ...each, bytes: encodeParentLocator(pairs) }
        : each,
    ),
  );
}
