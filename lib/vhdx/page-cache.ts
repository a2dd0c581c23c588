import type { ByteReader } from "./byte-file.ts";
import { KIB, LOG_SECTOR_BYTES } from "./layout.ts";
import type { LoggedPage } from "./log-entry.ts";

export const PAGE_BYTES = 64 * KIB;

/** 4 MiB: the BAT of a 16 TiB disk in 32 MiB blocks; a chain of many files stays small. */
const CLEAN_PAGES = 64;

/**
 * Pages of the file's metadata (BAT and sector bitmaps) in memory: the most recently used clean ones, and all that
 * were changed and are not in the file yet. Changes are noted by 4 KiB, the unit of the log.
 */
export class PageCache {
  readonly #file: ByteReader;
  readonly #clean = new Map<number, Promise<Uint8Array>>();
  readonly #changed = new Map<number, Uint8Array>();
  readonly #changedSectors = new Set<number>();

  constructor(file: ByteReader) {
    this.#file = file;
  }

  /** Number of 4 KiB sectors that differ from the file. */
  get changedSectors(): number {
    return this.#changedSectors.size;
  }

  /** The page that holds a byte of the file; behind the file's end it holds zeros. Not to be changed. */
  page(offsetBytes: number): Promise<Uint8Array> | Uint8Array {
    const number = Math.floor(offsetBytes / PAGE_BYTES);
    const changed = this.#changed.get(number);
    if (changed !== undefined) return changed;
    const known = this.#clean.get(number);
    if (known !== undefined) {
      this.#clean.delete(number);
      this.#clean.set(number, known);
      return known;
    }
    const loading = this.#load(number);
    this.#clean.set(number, loading);
    if (this.#clean.size > CLEAN_PAGES) {
      for (const oldest of this.#clean.keys()) {
        this.#clean.delete(oldest);
        break;
      }
    }
    return loading;
  }

  async #load(number: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(PAGE_BYTES);
    const offsetBytes = number * PAGE_BYTES;
    const length = Math.min(PAGE_BYTES, this.#file.sizeBytes - offsetBytes);
    try {
      if (length > 0) await this.#file.read(offsetBytes, bytes.subarray(0, length));
    } catch (error) {
      this.#clean.delete(number);
      throw error;
    }
    return bytes;
  }

  /** Reads any range, changes included. */
  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length;) {
      const inPage = (offsetBytes + done) % PAGE_BYTES;
      const length = Math.min(target.length - done, PAGE_BYTES - inPage);
      const page = await this.page(offsetBytes + done);
      target.set(page.subarray(inPage, inPage + length), done);
      done += length;
    }
  }

  /** Changes a range in memory; sectors that stay the same are not noted as changed. */
  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    for (let done = 0; done < data.length;) {
      const at = offsetBytes + done;
      const inSector = at % LOG_SECTOR_BYTES;
      const length = Math.min(data.length - done, LOG_SECTOR_BYTES - inSector);
      await this.#writeInSector(at, data.subarray(done, done + length));
      done += length;
    }
  }

  async #writeInSector(offsetBytes: number, data: Uint8Array): Promise<void> {
    const number = Math.floor(offsetBytes / PAGE_BYTES);
    const page = await this.page(offsetBytes);
    const inPage = offsetBytes % PAGE_BYTES;
    if (Buffer.compare(page.subarray(inPage, inPage + data.length), data) === 0) return;
    page.set(data, inPage);
    this.#clean.delete(number);
    this.#changed.set(number, page);
    this.#changedSectors.add(Math.floor(offsetBytes / LOG_SECTOR_BYTES));
  }

  /** Copies of every changed sector, ascending: what the log must hold before the file may. */
  changes(): LoggedPage[] {
    return [...this.#changedSectors]
      .sort((a, b) => a - b)
      .map((sector) => {
        const offsetBytes = sector * LOG_SECTOR_BYTES;
        const page = this.#changed.get(Math.floor(offsetBytes / PAGE_BYTES)) ?? new Uint8Array(PAGE_BYTES);
        const inPage = offsetBytes % PAGE_BYTES;
        return { offsetBytes, bytes: page.slice(inPage, inPage + LOG_SECTOR_BYTES) };
      });
  }

  /** Drops clean pages of a range that was written past the cache. */
  forget(offsetBytes: number, lengthBytes: number): void {
    const last = Math.floor((offsetBytes + lengthBytes) / PAGE_BYTES);
    for (let page = Math.floor(offsetBytes / PAGE_BYTES); page <= last; page++) this.#clean.delete(page);
  }

  /** Says that all changes are in the file now. */
  settle(): void {
    for (const [number, page] of this.#changed) this.#clean.set(number, Promise.resolve(page));
    this.#changed.clear();
    this.#changedSectors.clear();
    for (const oldest of this.#clean.keys()) {
      if (this.#clean.size <= CLEAN_PAGES) break;
      this.#clean.delete(oldest);
    }
  }
}
