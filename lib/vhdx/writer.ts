import type { ByteRange } from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";
import type { ByteFile } from "./byte-file.ts";
import { isZero, viewOf } from "./bytes.ts";
import { batIndexOf, bitmapIndexOf, encodeBatEntry, STATE } from "./geometry.ts";
import { growDisk } from "./grow.ts";
import type { Guid } from "./guid.ts";
import { checkRange, type BlockPlace } from "./image.ts";
import { BITMAP_BLOCK_BYTES, MIB, SECTORS_PER_CHUNK } from "./layout.ts";
import { PAGES_PER_ENTRY } from "./log-writer.ts";
import type { DiskItem, VhdxImage } from "./virtual-disk.ts";
import { openSession, type WriteSession } from "./write-session.ts";

/**
 * A disk that a guest writes to. What was written can be read at once; it survives a cut once `flush` resolved.
 * Operations are carried out one after another, in the order of their calls.
 */
export interface WritableVirtualDisk extends VhdxImage {
  /** Any offset and length inside the disk. Zeros where nothing else is stored take no space. */
  write(offsetBytes: number, data: Uint8Array): Promise<void>;
  /** Like `write` of that many zeros; whole blocks are given back. */
  writeZeros(range: ByteRange): Promise<void>;
  /** Everything written before survives any cut once this resolves. */
  flush(): Promise<void>;
  /**
   * Makes the disk larger; the new part reads as zeros.
   *
   * @throws BackupError VHDX_GROW_REFUSED when the size is smaller, no multiple of a sector or above 64 TiB, or when
   *   a longer parent would show through
   */
  grow(sizeBytes: number): Promise<void>;
  /** Flushes and marks the log as empty. The file itself stays the caller's to close. */
  close(): Promise<void>;
}

export interface WriteOptions {
  /** The parent of a differencing disk. */
  readonly parent?: VhdxImage;
  /**
   * What becomes of a block that the file already stores. "in-place", as Windows does: between two flushes a cut
   * leaves each sector old or new, as on any disk. "relocate": the block is written anew elsewhere and the flush
   * switches over, so that after a cut the disk is exactly as at a flush; a flush then costs whole blocks. Holds for
   * up to 126 metadata pages a flush (some ten thousand blocks); larger ones become visible in several steps.
   */
  readonly overwrite?: "in-place" | "relocate";
  readonly newGuid?: () => Guid;
}

/** Opens the top file of a chain for the guest. Until the first change the file stays as it is, unless its log is dirty. */
export async function openVhdxForWrite(
  file: ByteFile,
  options: WriteOptions = {},
): Promise<WritableVirtualDisk> {
  const session = await openSession(file, options.parent, options.newGuid ?? (() => crypto.randomUUID()));
  return new Writer(session, options.overwrite ?? "in-place");
}

const ZEROS = new Uint8Array(MIB);
/** A block's bitmap takes up to 17 pages, its BAT entries two. */
const PAGES_OF_ONE_BLOCK = 20;

export class Writer implements WritableVirtualDisk {
  readonly session: WriteSession;
  readonly #overwrite: "in-place" | "relocate";
  /** Blocks that were placed since the last flush: nothing in the file points to them yet. */
  readonly #fresh = new Set<number>();
  /** Places given up since the last flush: the file still points to them. Then: places free to use. */
  #leaving: number[] = [];
  readonly #free: number[] = [];
  #queue: Promise<unknown> = Promise.resolve();
  #failure: unknown;
  #isClosed = false;

  constructor(session: WriteSession, overwrite: "in-place" | "relocate") {
    this.session = session;
    this.#overwrite = overwrite;
  }

  get sizeBytes(): number {
    return this.session.image.sizeBytes;
  }
  get logicalSectorBytes(): 512 | 4096 {
    return this.session.image.logicalSectorBytes;
  }
  get physicalSectorBytes(): 512 | 4096 {
    return this.session.image.physicalSectorBytes;
  }
  get blockBytes(): number {
    return this.session.image.blockBytes;
  }
  get diskId(): Guid {
    return this.session.image.diskId;
  }
  get kind(): VhdxImage["kind"] {
    return this.session.image.kind;
  }
  get dataWriteGuid(): Guid {
    return this.session.image.dataWriteGuid;
  }
  get hasParent(): boolean {
    return this.session.image.hasParent;
  }
  diskItems(): Promise<readonly DiskItem[]> {
    return this.session.image.diskItems();
  }
  allocatedRanges(within?: ByteRange): AsyncIterable<ByteRange> {
    return this.session.image.allocatedRanges(within);
  }
  ownRanges(within?: ByteRange): AsyncIterable<ByteRange> {
    return this.session.image.ownRanges(within);
  }

  read(offsetBytes: number, target: Uint8Array): Promise<void> {
    return this.#inTurn(() => this.session.image.read(offsetBytes, target));
  }

  write(offsetBytes: number, data: Uint8Array): Promise<void> {
    return this.#inTurn(async () => {
      checkRange(offsetBytes, offsetBytes + data.length, this.sizeBytes);
      await this.#change(() => this.#write(offsetBytes, data));
    });
  }

  writeZeros(range: ByteRange): Promise<void> {
    return this.#inTurn(async () => {
      checkRange(range.offsetBytes, range.offsetBytes + range.lengthBytes, this.sizeBytes);
      await this.#change(() => this.#writeZeros(range.offsetBytes, range.offsetBytes + range.lengthBytes));
    });
  }

  flush(): Promise<void> {
    return this.#inTurn(() => this.#change(() => this.#commit()));
  }

  grow(sizeBytes: number): Promise<void> {
    return this.#inTurn(async () => {
      await this.#change(() => this.#commit());
      await growDisk(this.session, sizeBytes, (work) => this.#change(work));
    });
  }

  async close(): Promise<void> {
    await this.#inTurn(async () => {
      await this.#change(() => this.session.close());
      this.#isClosed = true;
    });
  }

  /** One operation after another. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(() => {
      if (this.#isClosed) throw new BackupError("VHDX_WRITER_FAILED", "The disk was closed; open it again.");
      if (this.#failure === undefined) return work();
      throw new BackupError(
        "VHDX_WRITER_FAILED",
        "An earlier write to the file failed; open the file again, its log is replayed then.",
        { cause: this.#failure },
      );
    });
    this.#queue = result.catch(() => undefined);
    return result;
  }

  /** After a failure in the middle of a change memory and file no longer agree: nothing more may be written. */
  async #change(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  async #commit(): Promise<void> {
    await this.session.commit();
    this.#fresh.clear();
    this.#free.push(...this.#leaving);
    this.#leaving = [];
  }

  async #write(offsetBytes: number, data: Uint8Array): Promise<void> {
    const { blockBytes } = this;
    const aligned = await this.#toSectors(offsetBytes, data);
    for (let done = 0; done < aligned.data.length;) {
      const position = aligned.offsetBytes + done;
      const block = Math.floor(position / blockBytes);
      const inBlock = position - block * blockBytes;
      const part = aligned.data.subarray(
        done,
        done + Math.min(aligned.data.length - done, blockBytes - inBlock),
      );
      await this.#makeRoomInLog();
      await this.#writeInBlock(block, inBlock, part);
      done += part.length;
    }
  }

  /** In a differencing disk a sector is here or in the parent as a whole, so a part of one brings the rest with it. */
  async #toSectors(
    offsetBytes: number,
    data: Uint8Array,
  ): Promise<{ readonly offsetBytes: number; readonly data: Uint8Array }> {
    const sector = this.logicalSectorBytes;
    const start = offsetBytes - (offsetBytes % sector);
    const end = Math.ceil((offsetBytes + data.length) / sector) * sector;
    const isAligned = start === offsetBytes && end === offsetBytes + data.length;
    if (!this.hasParent || isAligned || data.length === 0) return { offsetBytes, data };
    const whole = new Uint8Array(end - start);
    await this.session.image.read(start, whole.subarray(0, sector));
    await this.session.image.read(end - sector, whole.subarray(whole.length - sector));
    whole.set(data, offsetBytes - start);
    return { offsetBytes: start, data: whole };
  }

  async #makeRoomInLog(): Promise<void> {
    if (this.session.image.cache.changedSectors > PAGES_PER_ENTRY - PAGES_OF_ONE_BLOCK) await this.#commit();
  }

  async #writeInBlock(block: number, inBlock: number, data: Uint8Array): Promise<void> {
    const place = await this.session.image.place(block);
    if (place.state === STATE.fullyPresent || place.state === STATE.partiallyPresent) {
      await this.session.begin(true);
      const offsetBytes = await this.#placeToWrite(block, place);
      await this.session.file.write(offsetBytes + inBlock, data);
      if (place.state === STATE.partiallyPresent)
        await this.#markOwn(block, offsetBytes, inBlock, data.length);
      return;
    }
    const showsParent = this.hasParent && place.state === STATE.notPresent;
    const isWhole = inBlock === 0 && data.length >= this.#lengthOfBlock(block);
    if (isZero(data)) {
      if (!showsParent || !(await this.#parentHolds(block * this.blockBytes + inBlock, data.length))) return;
      if (isWhole) {
        await this.session.begin(true);
        await this.#setEntry(batIndexOf(this.session.image.geometry, block), STATE.zero, 0);
        return;
      }
    }
    await this.session.begin(true);
    const offsetBytes = await this.session.extend(this.blockBytes);
    this.#fresh.add(block);
    await this.session.file.write(offsetBytes + inBlock, data);
    if (showsParent && !isWhole) {
      await this.#clearBitmap(block);
      await this.#markOwn(block, offsetBytes, inBlock, data.length);
    } else {
      await this.#setEntry(batIndexOf(this.session.image.geometry, block), STATE.fullyPresent, offsetBytes);
    }
  }

  /** Bytes of a block that are inside the disk. */
  #lengthOfBlock(block: number): number {
    return Math.min(this.blockBytes, this.sizeBytes - block * this.blockBytes);
  }

  async #parentHolds(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    const { parent } = this.session.image;
    if (parent === undefined) return true; // unknown
    const within = Math.min(lengthBytes, parent.sizeBytes - offsetBytes);
    if (within <= 0) return false;
    for await (const _ of parent.allocatedRanges({ offsetBytes, lengthBytes: within })) return true;
    return false;
  }

  /** Where a stored block is to be written: its place, or a new one that takes over at the next flush. */
  async #placeToWrite(block: number, place: BlockPlace): Promise<number> {
    if (this.#overwrite === "in-place" || this.#fresh.has(block)) return place.offsetBytes;
    const offsetBytes = this.#free.pop() ?? (await this.session.extend(this.blockBytes));
    const buffer = new Uint8Array(Math.min(this.blockBytes, MIB));
    for (let done = 0; done < this.blockBytes; done += buffer.length) {
      await this.session.file.read(place.offsetBytes + done, buffer);
      await this.session.file.write(offsetBytes + done, buffer);
    }
    await this.#setEntry(batIndexOf(this.session.image.geometry, block), place.state, offsetBytes);
    this.#fresh.add(block);
    this.#leaving.push(place.offsetBytes);
    return offsetBytes;
  }

  /** Sets bitmap bits of a block; when all are set the block is fully present and needs its bitmap no more. */
  async #markOwn(block: number, offsetBytes: number, inBlock: number, lengthBytes: number): Promise<void> {
    const sector = this.logicalSectorBytes;
    const bitmap = await this.#readBitmap(block);
    const first = inBlock / sector;
    const end = (inBlock + lengthBytes) / sector;
    for (let bit = first; bit < end; bit++) {
      const at = bit >>> 3;
      bitmap.bytes[at] = (bitmap.bytes[at] ?? 0) | (1 << (bit & 7));
    }
    await this.session.image.cache.write(bitmap.offsetBytes, bitmap.bytes);
    const isWhole = isAllSet(bitmap.bytes, this.#lengthOfBlock(block) / sector);
    const state = isWhole ? STATE.fullyPresent : STATE.partiallyPresent;
    await this.#setEntry(batIndexOf(this.session.image.geometry, block), state, offsetBytes);
  }

  /** A block that becomes partially present may find bits of an earlier life in its chunk's bitmap. */
  async #clearBitmap(block: number): Promise<void> {
    const { image } = this.session;
    const index = bitmapIndexOf(image.geometry, block);
    if ((await image.entry(index)).state !== STATE.fullyPresent) {
      await this.#setEntry(index, STATE.fullyPresent, await this.session.extend(BITMAP_BLOCK_BYTES));
      return;
    }
    const bitmap = await this.#readBitmap(block);
    await image.cache.write(bitmap.offsetBytes, bitmap.bytes.fill(0));
  }

  async #readBitmap(block: number): Promise<{ readonly offsetBytes: number; readonly bytes: Uint8Array }> {
    const { image } = this.session;
    const { offsetBytes } = await image.entry(bitmapIndexOf(image.geometry, block));
    const sectors = this.blockBytes / this.logicalSectorBytes;
    const at = offsetBytes + ((block * sectors) % SECTORS_PER_CHUNK) / 8;
    const bytes = new Uint8Array(sectors / 8);
    await image.cache.read(at, bytes);
    return { offsetBytes: at, bytes };
  }

  async #setEntry(index: number, state: number, offsetBytes: number): Promise<void> {
    const { image } = this.session;
    const bytes = new Uint8Array(8);
    const [lower, upper] = encodeBatEntry(state, offsetBytes);
    viewOf(bytes).setUint32(0, lower, true);
    viewOf(bytes).setUint32(4, upper, true);
    await image.cache.write(image.batOffsetBytes + index * 8, bytes);
    image.flagPageOf(index, state);
  }

  async #writeZeros(start: number, end: number): Promise<void> {
    for (let position = start; position < end;) {
      const block = Math.floor(position / this.blockBytes);
      const blockStart = block * this.blockBytes;
      const to = Math.min(end, blockStart + this.blockBytes);
      const isWhole = position === blockStart && to - blockStart >= this.#lengthOfBlock(block);
      if (isWhole && this.kind !== "fixed") {
        await this.#makeRoomInLog();
        await this.#dropBlock(block);
      } else {
        for (let at = position; at < to; at += ZEROS.length) {
          await this.#write(at, ZEROS.subarray(0, Math.min(ZEROS.length, to - at)));
        }
      }
      position = to;
    }
  }

  /** Makes a whole block zeros without storing them. */
  async #dropBlock(block: number): Promise<void> {
    const { image } = this.session;
    const { state, offsetBytes } = await image.place(block);
    const isStored = state === STATE.fullyPresent || state === STATE.partiallyPresent;
    if (!isStored && (!this.hasParent || state !== STATE.notPresent)) return; // zeros already
    await this.session.begin(true);
    await this.#setEntry(batIndexOf(image.geometry, block), STATE.zero, 0);
    if (isStored && !this.#fresh.delete(block)) this.#leaving.push(offsetBytes);
  }
}

function isAllSet(bytes: Uint8Array, bits: number): boolean {
  const whole = Math.floor(bits / 8);
  for (let at = 0; at < whole; at++) if (bytes[at] !== 0xff) return false;
  const rest = (1 << (bits % 8)) - 1;
  return ((bytes[whole] ?? 0) & rest) === rest;
}
