import { BackupError } from "../errors/index.ts";
import type { ByteFile } from "./byte-file.ts";
import { isZero, viewOf } from "./bytes.ts";
import { newDiskMetadata, type NewDiskOptions } from "./create.ts";
import { batIndexOf, encodeBatEntry, STATE } from "./geometry.ts";
import { checkRange } from "./image.ts";
import { beginNewFile } from "./new-file.ts";
import { PAGE_BYTES } from "./page-cache.ts";

/** A dynamic disk that is being written once. */
export interface VhdxStream {
  /**
   * Puts data at its place on the disk. Zeros in blocks that hold nothing else take no space. Writes may come in any
   * order and several at once, but not two over the same bytes; ascending ones give a file in the disk's order.
   */
  write(offsetBytes: number, data: Uint8Array): Promise<void>;
  /** Makes the file whole: blocks stable first, then the tables, then the headers. Nothing can be written after. */
  finish(): Promise<void>;
}

/** BAT pages kept in memory: 4 MiB, entries of half a million blocks. */
const PAGES_IN_MEMORY = 64;

/**
 * Begins a dynamic disk in an empty file without any use of the log: until `finish` the file has no headers, so that
 * a cut at any moment leaves no VHDX file rather than a wrong one.
 */
export async function createVhdxStream(file: ByteFile, options: NewDiskOptions): Promise<VhdxStream> {
  const newGuid = options.newGuid ?? (() => crypto.randomUUID());
  const made = await beginNewFile(file, newDiskMetadata({ ...options, newGuid }, "dynamic"), newGuid);
  const { geometry } = made;
  const bat = new BatPages(file, made.batOffsetBytes);
  let end = made.blocksOffsetBytes;
  let isFinished = false;
  // One lookup of the BAT at a time; the data itself goes to the file side by side.
  let lookup: Promise<unknown> = Promise.resolve();

  const placeOf = (block: number): Promise<number> => {
    const place = lookup.then(async () => {
      const index = batIndexOf(geometry, block);
      const known = await bat.get(index);
      if (known !== 0) return known;
      const offsetBytes = end;
      end += geometry.blockBytes;
      await bat.set(index, offsetBytes);
      return offsetBytes;
    });
    lookup = place.catch(() => undefined);
    return place;
  };

  return {
    async write(offsetBytes, data) {
      if (isFinished) throw streamIsFinished();
      checkRange(offsetBytes, offsetBytes + data.length, geometry.diskBytes);
      for (let done = 0; done < data.length;) {
        const block = Math.floor((offsetBytes + done) / geometry.blockBytes);
        const inBlock = offsetBytes + done - block * geometry.blockBytes;
        const part = data.subarray(done, done + Math.min(data.length - done, geometry.blockBytes - inBlock));
        // A block's unwritten bytes read as zeros, so zeros never have to be written to a fresh file.
        if (!isZero(part)) await file.write((await placeOf(block)) + inBlock, part);
        done += part.length;
      }
    },
    async finish() {
      if (isFinished) throw streamIsFinished();
      isFinished = true;
      await lookup;
      await file.resize(end);
      await bat.save();
      await made.seal();
    },
  };
}

function streamIsFinished(): BackupError {
  return new BackupError("VHDX_WRITER_FAILED", "The disk is finished; open it for writing to change it.");
}

/** The BAT of a new file: recently used pages in memory, the others in the file. */
class BatPages {
  readonly #file: ByteFile;
  readonly #offsetBytes: number;
  readonly #pages = new Map<number, Uint8Array>();

  constructor(file: ByteFile, offsetBytes: number) {
    this.#file = file;
    this.#offsetBytes = offsetBytes;
  }

  /** Byte offset of a block, zero when it has no place yet. */
  async get(index: number): Promise<number> {
    const view = viewOf(await this.#page(index));
    const at = (index * 8) % PAGE_BYTES;
    return view.getUint32(at + 4, true) * 2 ** 32 + ((view.getUint32(at, true) & 0xfff0_0000) >>> 0);
  }

  async set(index: number, offsetBytes: number): Promise<void> {
    const view = viewOf(await this.#page(index));
    const [lower, upper] = encodeBatEntry(STATE.fullyPresent, offsetBytes);
    view.setUint32((index * 8) % PAGE_BYTES, lower, true);
    view.setUint32(((index * 8) % PAGE_BYTES) + 4, upper, true);
  }

  async #page(index: number): Promise<Uint8Array> {
    const number = Math.floor((index * 8) / PAGE_BYTES);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(PAGE_BYTES);
      await this.#file.read(this.#offsetBytes + number * PAGE_BYTES, page);
    }
    this.#pages.delete(number);
    this.#pages.set(number, page);
    for (const [oldest, bytes] of this.#pages) {
      if (this.#pages.size <= PAGES_IN_MEMORY) break;
      await this.#file.write(this.#offsetBytes + oldest * PAGE_BYTES, bytes);
      this.#pages.delete(oldest);
    }
    return page;
  }

  async save(): Promise<void> {
    for (const [number, bytes] of this.#pages) {
      await this.#file.write(this.#offsetBytes + number * PAGE_BYTES, bytes);
    }
  }
}
