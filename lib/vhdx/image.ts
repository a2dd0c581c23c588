import type { ByteRange } from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";
import { PAGE_HAS_DECIDED, PAGE_HAS_PRESENT } from "./bat-survey.ts";
import type { ByteReader } from "./byte-file.ts";
import { wordsOf } from "./bytes.ts";
import { defectError } from "./defects.ts";
import { batIndexOf, bitmapIndexOf, offsetInEntry, STATE, type Geometry } from "./geometry.ts";
import { MIB, SECTORS_PER_CHUNK } from "./layout.ts";
import { PAGE_BYTES, PageCache } from "./page-cache.ts";
import type { Header } from "./header.ts";
import { KNOWN_ITEMS } from "./metadata.ts";
import type { Region } from "./region-table.ts";
import type { Structure } from "./structure.ts";
import type { DiskItem, VhdxImage } from "./virtual-disk.ts";

/** Where the bytes [start, end) of the disk come from. `at` is the place in this file of the byte at `start`. */
export type Piece =
  | { readonly kind: "own"; readonly start: number; readonly end: number; readonly at: number }
  | { readonly kind: "zero" | "parent"; readonly start: number; readonly end: number };

/** One BAT entry. */
export interface BlockPlace {
  readonly state: number;
  readonly offsetBytes: number;
}

const ENTRIES_PER_PAGE = PAGE_BYTES / 8;
/** What [MS-VHDX] §2.6.1.2 would allow, a gigabyte, is no metadata. */
const MAX_DISK_ITEMS_BYTES = 40 * MIB;

/** An open file: the reader of one image, and the ground on which the writer builds. */
export class Image implements VhdxImage {
  readonly structure: Structure;
  readonly file: ByteReader;
  readonly cache: PageCache;
  readonly parent: VhdxImage | undefined;
  /** Changed by the writer: block states when blocks are placed, geometry and BAT place when the disk grows. */
  geometry: Geometry;
  batRegion: Region;
  pageFlags: Uint8Array;
  /** Changed by the writer, with the first change of a session. */
  header: Header;

  constructor(structure: Structure, parent: VhdxImage | undefined) {
    this.structure = structure;
    this.file = structure.reader;
    this.cache = new PageCache(structure.reader);
    this.parent = parent;
    this.geometry = structure.geometry;
    this.batRegion = structure.regionTable.bat;
    this.header = structure.current.header;
    this.pageFlags = structure.survey.pageFlags;
  }

  get sizeBytes(): number {
    return this.geometry.diskBytes;
  }
  get logicalSectorBytes(): 512 | 4096 {
    return this.structure.metadata.logicalSectorBytes;
  }
  get physicalSectorBytes(): 512 | 4096 {
    return this.structure.metadata.physicalSectorBytes;
  }
  get blockBytes(): number {
    return this.geometry.blockBytes;
  }
  get diskId(): string {
    return this.structure.metadata.diskId;
  }
  get dataWriteGuid(): string {
    return this.header.dataWriteGuid;
  }
  get batOffsetBytes(): number {
    return this.batRegion.offsetBytes;
  }
  get hasParent(): boolean {
    return this.geometry.hasParent;
  }
  get kind(): VhdxImage["kind"] {
    if (this.hasParent) return "differencing";
    return this.structure.metadata.leavesBlocksAllocated ? "fixed" : "dynamic";
  }

  async diskItems(): Promise<readonly DiskItem[]> {
    const { metadata, regionTable } = this.structure;
    const known = new Set<string>(Object.values(KNOWN_ITEMS).map((each) => each.id));
    const others = metadata.items.filter(
      (each) => each.isVirtualDisk && (each.isUser || !known.has(each.id)),
    );
    const total = others.reduce((sum, each) => sum + each.lengthBytes, 0);
    if (total > MAX_DISK_ITEMS_BYTES) {
      throw defectError("VHDX_METADATA_TOO_LONG", `metadata of the virtual disk has ${total} bytes`);
    }
    const items: DiskItem[] = [];
    for (const item of others) {
      const bytes = new Uint8Array(item.lengthBytes);
      if (bytes.length > 0) await this.file.read(regionTable.metadata.offsetBytes + item.offsetBytes, bytes);
      items.push({ id: item.id, isUser: item.isUser, isRequired: item.isRequired, bytes });
    }
    return items;
  }

  /** Says that an entry has got a state; what a page's flags promise stays true. */
  flagPageOf(index: number, state: number): void {
    const page = Math.floor(index / ENTRIES_PER_PAGE);
    const isPresent = state === STATE.fullyPresent || state === STATE.partiallyPresent;
    const flags = (isPresent ? PAGE_HAS_PRESENT : 0) | (state === STATE.notPresent ? 0 : PAGE_HAS_DECIDED);
    this.pageFlags[page] = (this.pageFlags[page] ?? 0) | flags;
  }

  /** Goes over to a larger disk, whose BAT begins with the same entries. */
  useGeometry(grown: Geometry): void {
    const flags = new Uint8Array(Math.ceil(grown.batEntries / ENTRIES_PER_PAGE));
    flags.set(this.pageFlags);
    if (this.kind === "fixed") flags.fill(PAGE_HAS_PRESENT | PAGE_HAS_DECIDED);
    this.pageFlags = flags;
    this.geometry = grown;
  }

  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    const end = offsetBytes + target.length;
    checkRange(offsetBytes, end, this.sizeBytes);
    for await (const pieces of this.pieces(offsetBytes, end)) {
      for (const piece of pieces) {
        const part = target.subarray(piece.start - offsetBytes, piece.end - offsetBytes);
        if (piece.kind === "own") await this.file.read(piece.at, part);
        else if (piece.kind === "zero") part.fill(0);
        else await this.#readParent(piece.start, part);
      }
    }
  }

  async #readParent(offsetBytes: number, target: Uint8Array): Promise<void> {
    const parent = this.#parentOrThrow();
    const inParent = Math.max(0, Math.min(target.length, parent.sizeBytes - offsetBytes));
    if (inParent > 0) await parent.read(offsetBytes, target.subarray(0, inParent));
    target.fill(0, inParent); // a child may be longer than its parent: behind the parent's end there are zeros
  }

  #parentOrThrow(): VhdxImage {
    if (this.parent !== undefined) return this.parent;
    throw new BackupError(
      "VHDX_PARENT_REQUIRED",
      "Content of the parent is needed, but the differencing disk was opened alone; open the whole chain.",
    );
  }

  async *allocatedRanges(within?: ByteRange): AsyncGenerator<ByteRange> {
    yield* merged(this.#allocated(this.#bounds(within)));
  }

  async *#allocated([start, end]: readonly [number, number]): AsyncGenerator<ByteRange> {
    for await (const pieces of this.pieces(start, end)) {
      for (const piece of pieces) {
        if (piece.kind === "own") yield rangeOf(piece);
        else if (piece.kind === "parent") {
          const parent = this.#parentOrThrow();
          if (piece.start >= parent.sizeBytes) continue;
          const part = { start: piece.start, end: Math.min(piece.end, parent.sizeBytes) };
          yield* parent.allocatedRanges(rangeOf(part));
        }
      }
    }
  }

  async *ownRanges(within?: ByteRange): AsyncGenerator<ByteRange> {
    yield* merged(this.#own(this.#bounds(within)));
  }

  async *#own([start, end]: readonly [number, number]): AsyncGenerator<ByteRange> {
    for await (const pieces of this.pieces(start, end)) {
      for (const piece of pieces) if (piece.kind !== "parent") yield rangeOf(piece);
    }
  }

  #bounds(within: ByteRange | undefined): readonly [number, number] {
    if (within === undefined) return [0, this.sizeBytes];
    const end = within.offsetBytes + within.lengthBytes;
    checkRange(within.offsetBytes, end, this.sizeBytes);
    return [within.offsetBytes, end];
  }

  /** Entry of a payload block. */
  place(block: number): Promise<BlockPlace> {
    return this.entry(batIndexOf(this.geometry, block));
  }

  /** Entry of the BAT by index. */
  async entry(index: number): Promise<BlockPlace> {
    const offsetBytes = this.batOffsetBytes + index * 8;
    const page = this.cache.page(offsetBytes);
    const words = wordsOf(page instanceof Uint8Array ? page : await page);
    const at = (offsetBytes % PAGE_BYTES) / 4;
    return placeOf(words[at] ?? 0, words[at + 1] ?? 0);
  }

  /**
   * Says of every byte in [start, end) where it comes from, in order: batches of pieces, one batch for each 64 KiB of
   * BAT and each partially present block. Neighbours of one kind are one piece, if they are neighbours in the file.
   */
  async *pieces(start: number, end: number): AsyncGenerator<readonly Piece[]> {
    const { blockBytes, hasParent } = this.geometry;
    const absent = hasParent ? "parent" : "zero";
    let position = start;
    while (position < end) {
      const block = Math.floor(position / blockBytes);
      const index = batIndexOf(this.geometry, block);
      const pageNumber = Math.floor(index / ENTRIES_PER_PAGE);
      const lastBlock = Math.min(Math.ceil(end / blockBytes) - 1, this.#lastBlockOfPage(pageNumber));
      const flags = this.pageFlags[pageNumber] ?? 0;
      if ((flags & (hasParent ? PAGE_HAS_DECIDED : PAGE_HAS_PRESENT)) === 0) {
        const to = Math.min(end, (lastBlock + 1) * blockBytes);
        yield [{ kind: absent, start: position, end: to }];
        position = to;
        continue;
      }
      const page = await this.cache.page(this.batOffsetBytes + index * 8);
      const run = this.#piecesOfPage(wordsOf(page), position, end, lastBlock);
      if (run.pieces.length > 0) yield run.pieces;
      position = run.position;
      if (run.partial !== undefined) {
        const to = Math.min(end, (Math.floor(position / blockBytes) + 1) * blockBytes);
        yield await this.#piecesOfPartial(run.partial, position, to);
        position = to;
      }
    }
  }

  /** Goes on until the page or the range ends, or a partially present block needs its bitmap. */
  #piecesOfPage(
    words: Uint32Array,
    from: number,
    end: number,
    lastBlock: number,
  ): { readonly pieces: Piece[]; readonly position: number; readonly partial?: number } {
    const { blockBytes, hasParent } = this.geometry;
    const pieces: Piece[] = [];
    let position = from;
    for (let block = Math.floor(from / blockBytes); block <= lastBlock; block++) {
      const at = ((this.batOffsetBytes + batIndexOf(this.geometry, block) * 8) % PAGE_BYTES) / 4;
      const { state, offsetBytes } = placeOf(words[at] ?? 0, words[at + 1] ?? 0);
      const to = Math.min(end, (block + 1) * blockBytes);
      if (state === STATE.partiallyPresent) return { pieces, position, partial: offsetBytes };
      if (state === STATE.fullyPresent) {
        append(pieces, {
          kind: "own",
          start: position,
          end: to,
          at: offsetBytes + position - block * blockBytes,
        });
      } else {
        const isParents = state === STATE.notPresent && hasParent;
        append(pieces, { kind: isParents ? "parent" : "zero", start: position, end: to });
      }
      position = to;
    }
    return { pieces, position };
  }

  async #piecesOfPartial(blockAt: number, start: number, end: number): Promise<readonly Piece[]> {
    const { blockBytes, sectorBytes } = this.geometry;
    const block = Math.floor(start / blockBytes);
    const firstSector = Math.floor(start / sectorBytes);
    const lastSector = Math.ceil(end / sectorBytes) - 1;
    const bits = await this.bitmap(block, firstSector, lastSector);
    const pieces: Piece[] = [];
    for (let sector = firstSector; sector <= lastSector;) {
      const isOwn = bits.has(sector);
      let next = sector + 1;
      while (next <= lastSector && bits.has(next) === isOwn) next++;
      const from = Math.max(start, sector * sectorBytes);
      const to = Math.min(end, next * sectorBytes);
      if (isOwn) pieces.push({ kind: "own", start: from, end: to, at: blockAt + from - block * blockBytes });
      else pieces.push({ kind: "parent", start: from, end: to });
      sector = next;
    }
    return pieces;
  }

  /** The bitmap bits of sectors of one block. */
  async bitmap(block: number, firstSector: number, lastSector: number): Promise<SectorBits> {
    const { offsetBytes } = await this.entry(bitmapIndexOf(this.geometry, block));
    const firstByte = Math.floor((firstSector % SECTORS_PER_CHUNK) / 8);
    const lastByte = Math.floor((lastSector % SECTORS_PER_CHUNK) / 8);
    const bytes = new Uint8Array(lastByte - firstByte + 1);
    await this.cache.read(offsetBytes + firstByte, bytes);
    return new SectorBits(bytes, firstSector - (firstSector % 8));
  }

  #lastBlockOfPage(pageNumber: number): number {
    const lastIndex = (pageNumber + 1) * ENTRIES_PER_PAGE - 1;
    const stride = this.geometry.chunkRatio + 1;
    // An index of a bitmap entry stands behind its chunk's last block.
    const inChunk = Math.min(lastIndex % stride, stride - 2);
    return Math.floor(lastIndex / stride) * this.geometry.chunkRatio + inChunk;
  }
}

/** Bits of a sector bitmap, LSB first (§2.4), addressed by the sector's number on the disk. */
export class SectorBits {
  readonly bytes: Uint8Array;
  readonly #firstSector: number;

  /** @param firstSector the sector of bit 0, a multiple of 8 */
  constructor(bytes: Uint8Array, firstSector: number) {
    this.bytes = bytes;
    this.#firstSector = firstSector;
  }

  has(sector: number): boolean {
    const bit = sector - this.#firstSector;
    return (((this.bytes[bit >>> 3] ?? 0) >>> (bit & 7)) & 1) === 1;
  }
}

function placeOf(lower: number, upper: number): BlockPlace {
  return { state: lower & 7, offsetBytes: offsetInEntry(lower, upper) };
}

/** Adds a piece, or lengthens the last one when both are one in the file, too. */
function append(pieces: Piece[], piece: Piece): void {
  const last = pieces.at(-1);
  if (last?.kind === piece.kind) {
    const isOne =
      last.kind !== "own" || (piece.kind === "own" && last.at + (last.end - last.start) === piece.at);
    if (isOne) {
      pieces[pieces.length - 1] = { ...last, end: piece.end };
      return;
    }
  }
  pieces.push(piece);
}

function rangeOf(piece: { readonly start: number; readonly end: number }): ByteRange {
  return { offsetBytes: piece.start, lengthBytes: piece.end - piece.start };
}

async function* merged(ranges: AsyncIterable<ByteRange>): AsyncGenerator<ByteRange> {
  let last: ByteRange | undefined;
  for await (const range of ranges) {
    if (last !== undefined && last.offsetBytes + last.lengthBytes === range.offsetBytes) {
      last = { offsetBytes: last.offsetBytes, lengthBytes: last.lengthBytes + range.lengthBytes };
    } else {
      if (last !== undefined) yield last;
      last = range;
    }
  }
  if (last !== undefined) yield last;
}

export function checkRange(start: number, end: number, sizeBytes: number): void {
  if (Number.isSafeInteger(start) && start >= 0 && end >= start && end <= sizeBytes) return;
  throw new BackupError(
    "VHDX_RANGE_INVALID",
    `Bytes ${start} to ${end} were asked of a disk of ${sizeBytes} bytes; ask for a range inside it.`,
    { facts: { start, end, sizeBytes } },
  );
}
