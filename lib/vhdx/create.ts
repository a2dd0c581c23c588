import { BackupError } from "../errors/index.ts";
import type { ByteFile } from "./byte-file.ts";
import { viewOf } from "./bytes.ts";
import { batIndexOf, encodeBatEntry, STATE, type Geometry } from "./geometry.ts";
import type { Guid } from "./guid.ts";
import { KIB, MAX_BLOCK_BYTES, MAX_DISK_BYTES, MIB, MIN_BLOCK_BYTES, type SectorBytes } from "./layout.ts";
import { beginNewFile } from "./new-file.ts";
import { encodeParentLocator } from "./parent-locator.ts";
import type { VhdxImage } from "./virtual-disk.ts";

/** Sizes and identity of a new disk. What is left out is as Windows chooses it. */
export interface NewDiskOptions {
  /** A multiple of the logical sector size, at most 64 TiB. */
  readonly sizeBytes: number;
  /** A power of two from 1 MiB to 256 MiB. Default: 32 MiB for dynamic disks, 2 MiB for others. */
  readonly blockBytes?: number;
  /** Default 512. */
  readonly logicalSectorBytes?: SectorBytes;
  /** Default 4096. */
  readonly physicalSectorBytes?: SectorBytes;
  /** The "page 83" id. Default: a new one. */
  readonly diskId?: Guid;
  /** Source of new GUIDs; tests give their own. */
  readonly newGuid?: () => Guid;
}

export const DYNAMIC_BLOCK_BYTES = 32 * MIB;
const OTHER_BLOCK_BYTES = 2 * MIB;

/** The metadata of a disk without parent, with the defaults filled in and everything checked. */
export function newDiskMetadata(options: NewDiskOptions, kind: "dynamic" | "fixed") {
  const {
    sizeBytes,
    blockBytes = kind === "dynamic" ? DYNAMIC_BLOCK_BYTES : OTHER_BLOCK_BYTES,
    logicalSectorBytes = 512,
    physicalSectorBytes = 4096,
    newGuid = () => crypto.randomUUID(),
    diskId = newGuid(),
  } = options;
  checkSizes(sizeBytes, blockBytes, logicalSectorBytes);
  return {
    blockBytes,
    leavesBlocksAllocated: kind === "fixed",
    hasParent: false,
    diskBytes: sizeBytes,
    diskId,
    logicalSectorBytes,
    physicalSectorBytes,
    copied: [],
  };
}

function checkSizes(sizeBytes: number, blockBytes: number, sectorBytes: number): void {
  const isSize = sizeBytes > 0 && sizeBytes <= MAX_DISK_BYTES && sizeBytes % sectorBytes === 0;
  const isBlock =
    blockBytes >= MIN_BLOCK_BYTES && blockBytes <= MAX_BLOCK_BYTES && Number.isInteger(Math.log2(blockBytes));
  if (isSize && isBlock) return;
  throw new BackupError(
    "VHDX_OPTIONS_INVALID",
    isSize
      ? `Blocks of ${blockBytes} bytes were asked for; give a power of two from 1 MiB to 256 MiB.`
      : `A disk of ${sizeBytes} bytes was asked for; give a multiple of ${sectorBytes}, at most 64 TiB.`,
    { facts: { sizeBytes, blockBytes } },
  );
}

/**
 * Makes an empty disk that reads as zeros. Whatever the file held is gone. Headers come last: a file that was cut
 * while it was made is no VHDX file.
 */
export async function createVhdx(
  file: ByteFile,
  options: NewDiskOptions & { readonly kind: "dynamic" | "fixed" },
): Promise<void> {
  const newGuid = options.newGuid ?? (() => crypto.randomUUID());
  const made = await beginNewFile(file, newDiskMetadata({ ...options, newGuid }, options.kind), newGuid);
  if (options.kind === "fixed") {
    await file.resize(made.blocksOffsetBytes + made.geometry.payloadBlocks * made.geometry.blockBytes);
    await placeBlocks(file, made.batOffsetBytes, made.geometry, 0, made.blocksOffsetBytes);
  }
  await made.seal();
}

/** Writes BAT entries that place all blocks from `firstBlock` on one behind another, straight into the BAT. */
export async function placeBlocks(
  file: ByteFile,
  batOffsetBytes: number,
  geometry: Geometry,
  firstBlock: number,
  blocksOffsetBytes: number,
): Promise<void> {
  const buffer = new Uint8Array(64 * KIB);
  const view = viewOf(buffer);
  for (let block = firstBlock; block < geometry.payloadBlocks;) {
    const firstIndex = batIndexOf(geometry, block);
    buffer.fill(0);
    let length = 0;
    for (; block < geometry.payloadBlocks; block++) {
      const at = (batIndexOf(geometry, block) - firstIndex) * 8;
      if (at + 8 > buffer.length) break;
      const offset = blocksOffsetBytes + (block - firstBlock) * geometry.blockBytes;
      const [lower, upper] = encodeBatEntry(STATE.fullyPresent, offset);
      view.setUint32(at, lower, true);
      view.setUint32(at + 4, upper, true);
      length = at + 8;
    }
    await file.write(batOffsetBytes + firstIndex * 8, buffer.subarray(0, length));
  }
}

/** How a child says where its parent is. */
export interface ParentReference {
  /** The parent, as it is now: any later change of its content breaks the link. */
  readonly image: VhdxImage;
  /** From the child's folder: the parent's base name when both are in one folder. */
  readonly relativePath: string;
  /** Windows path of the parent, when it has one. */
  readonly absolutePath?: string;
}

/** The locator's pairs in the order of Windows. parent_linkage2 is there only while a merge is under way. */
export function locatorPairs(parent: ParentReference): Map<string, string> {
  const path = parent.relativePath.replaceAll("/", "\\");
  const pairs = new Map([
    ["parent_linkage", `{${parent.image.dataWriteGuid}}`],
    ["relative_path", path.startsWith(".") ? path : `.\\${path}`],
  ]);
  if (parent.absolutePath !== undefined) pairs.set("absolute_win32_path", parent.absolutePath);
  return pairs;
}

/**
 * Makes a differencing disk that shows its parent's content. Size, sectors, disk id and all other metadata that
 * belongs to the virtual disk are the parent's ([MS-VHDX] §2.6.1.2).
 */
export async function createDifferencing(
  file: ByteFile,
  parent: ParentReference,
  options: { readonly blockBytes?: number; readonly newGuid?: () => Guid } = {},
): Promise<void> {
  const { image } = parent;
  const blockBytes = options.blockBytes ?? OTHER_BLOCK_BYTES;
  checkSizes(image.sizeBytes, blockBytes, image.logicalSectorBytes);
  const made = await beginNewFile(
    file,
    {
      blockBytes,
      leavesBlocksAllocated: false,
      hasParent: true,
      diskBytes: image.sizeBytes,
      diskId: image.diskId,
      logicalSectorBytes: image.logicalSectorBytes,
      physicalSectorBytes: image.physicalSectorBytes,
      parentLocator: encodeParentLocator(locatorPairs(parent)),
      copied: await image.diskItems(),
    },
    options.newGuid ?? (() => crypto.randomUUID()),
  );
  await made.seal();
}
