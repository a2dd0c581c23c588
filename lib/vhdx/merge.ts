import { BackupError } from "../errors/index.ts";
import type { ByteFile } from "./byte-file.ts";
import { strictInspector } from "./defects.ts";
import type { Guid } from "./guid.ts";
import { Image } from "./image.ts";
import { MIB } from "./layout.ts";
import { KNOWN_ITEMS, type ItemContent } from "./metadata.ts";
import { imageOf } from "./open.ts";
import { readItemContents, rewriteMetadata } from "./rewrite-metadata.ts";
import { writeLocator } from "./set-parent.ts";
import { readStructure } from "./structure.ts";
import type { VhdxImage } from "./virtual-disk.ts";
import { openSession } from "./write-session.ts";
import { Writer } from "./writer.ts";

export interface MergeOptions {
  /** What lies below the parent, when the parent is itself a differencing disk. */
  readonly grandparent?: VhdxImage;
  readonly signal?: AbortSignal;
  readonly newGuid?: () => Guid;
}

/**
 * Brings the content of a differencing disk into its parent, which then shows what the child showed. Other children
 * of the parent lose it. Nobody else may have either file open for writing.
 *
 * Safe at every cut: the parent's coming DataWriteGuid is first noted in the child as parent_linkage2 ([MS-VHDX]
 * §2.6.2.6.3, note 12), so child and half-merged parent still open as a chain with unchanged content, and the merge
 * can be begun again. Afterwards the child may be deleted; a grandchild is tied to the parent with `setParent`.
 *
 * @returns the bytes that were brought over, zeros included
 */
export async function mergeIntoParent(
  child: ByteFile,
  parent: ByteFile,
  options: MergeOptions = {},
): Promise<number> {
  const newGuid = options.newGuid ?? (() => crypto.randomUUID());
  // Both are checked, and the link between them, before either is changed.
  const parentImage = imageOf(await readStructure(parent, strictInspector), options.grandparent);
  const childImage = imageOf(await readStructure(child, strictInspector), parentImage);
  if (childImage.parent === undefined || childImage.sizeBytes < parentImage.sizeBytes) {
    throw new BackupError(
      "VHDX_OPTIONS_INVALID",
      "Only a differencing disk that is as long as its parent, or longer, can be merged into it.",
      { facts: { childBytes: childImage.sizeBytes, parentBytes: parentImage.sizeBytes } },
    );
  }
  const coming = newGuid();
  await announce(child, childImage, parentImage.dataWriteGuid, coming, newGuid);

  const parentSession = await openSession(parent, options.grandparent, newGuid);
  await parentSession.begin(true, coming);
  const target = new Writer(parentSession, "in-place");
  await target.grow(childImage.sizeBytes);
  const source = new Image(await readStructure(child, strictInspector), undefined);
  const moved = await copyOwn(source, target, options.signal);
  await target.flush();
  await takeDiskItems(source, target);
  await target.close();
  return moved;
}

async function announce(
  child: ByteFile,
  image: Image,
  present: Guid,
  coming: Guid,
  newGuid: () => Guid,
): Promise<void> {
  const pairs = new Map(image.structure.metadata.parentLocator?.pairs);
  pairs.set("parent_linkage", `{${present}}`); // a merge that was cut may have come as far as the second one
  pairs.set("parent_linkage2", `{${coming}}`);
  const session = await openSession(child, undefined, newGuid);
  await writeLocator(session, pairs);
  await session.close();
}

async function copyOwn(source: Image, target: Writer, signal: AbortSignal | undefined): Promise<number> {
  const buffer = new Uint8Array(4 * MIB);
  let moved = 0;
  for await (const pieces of source.pieces(0, source.sizeBytes)) {
    for (const piece of pieces) {
      signal?.throwIfAborted();
      if (piece.kind === "parent") continue;
      moved += piece.end - piece.start;
      if (piece.kind !== "own") {
        await target.writeZeros({ offsetBytes: piece.start, lengthBytes: piece.end - piece.start });
        continue;
      }
      for (let at = piece.start; at < piece.end; at += buffer.length) {
        const part = buffer.subarray(0, Math.min(buffer.length, piece.end - at));
        await source.file.read(piece.at + (at - piece.start), part);
        await target.write(at, part);
      }
    }
  }
  return moved;
}

/** What belongs to the virtual disk is the child's after a merge; size and sectors agree already (§2.6.1.2). */
async function takeDiskItems(source: Image, target: Writer): Promise<void> {
  const isDisks = (item: ItemContent): boolean => (item.flags & 2) !== 0;
  const keepsOwn = new Set<Guid>([KNOWN_ITEMS.diskSize.id, KNOWN_ITEMS.logicalSector.id]);
  const isKept = (item: ItemContent): boolean =>
    !isDisks(item) || ((item.flags & 1) === 0 && keepsOwn.has(item.id));
  const { session } = target;
  const childItems = await readItemContents(source);
  const taken = childItems.filter((item) => !isKept(item));
  const own = await readItemContents(session.image);
  // Known items keep their places in the table; what only the child has follows.
  const keyOf = (item: ItemContent): string => `${item.id} ${item.flags & 1}`;
  const byKey = new Map(taken.map((item) => [keyOf(item), item]));
  const merged: ItemContent[] = [];
  for (const item of own) {
    const replacement = isKept(item) ? item : byKey.get(keyOf(item));
    byKey.delete(keyOf(item));
    if (replacement !== undefined) merged.push(replacement);
  }
  merged.push(...byKey.values());
  const isSame =
    merged.length === own.length &&
    merged.every((item, index) => {
      const before = own[index];
      return before !== undefined && before.id === item.id && Buffer.compare(before.bytes, item.bytes) === 0;
    });
  if (!isSame) await rewriteMetadata(session, merged);
}
