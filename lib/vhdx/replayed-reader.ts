import type { ByteReader } from "./byte-file.ts";
import type { Inspector } from "./defects.ts";
import { LOG_SECTOR_BYTES } from "./layout.ts";
import type { Replay } from "./log-replay.ts";
import type { LogUpdate } from "./log-entry.ts";

type Page = Extract<LogUpdate, { kind: "page" }>;
interface ZeroRange {
  readonly start: number;
  readonly end: number;
}

/** Disjoint zero ranges; more than this cannot come from metadata updates. */
const MAX_ZERO_RANGES = 65_536;

/**
 * The file as it will be once its log is replayed: the file itself is never changed ([MS-VHDX] §2.3.3, note 5).
 * Page contents stay in the log, so a large log costs some hundred bytes a page, not 4 KiB.
 */
export function replayedReader(file: ByteReader, replay: Replay, inspector: Inspector): ByteReader {
  return new ReplayedReader(file, replay, inspector);
}

class ReplayedReader implements ByteReader {
  readonly sizeBytes: number;
  readonly #file: ByteReader;
  readonly #replay: Replay;
  /** Sorted by place; each page at most once. */
  readonly #pages: readonly Page[];
  readonly #zeros: readonly ZeroRange[];

  constructor(file: ByteReader, replay: Replay, inspector: Inspector) {
    this.#file = file;
    this.#replay = replay;
    const pages = new Map<number, Page>();
    const zeros: ZeroRange[] = [];
    let end = Math.max(file.sizeBytes, replay.lastFileBytes);
    // Newest first: what is already there wins over what is older.
    for (const update of replay.updates.toReversed()) {
      if (update.kind === "zero") {
        if (update.lengthBytes === 0) continue;
        addZeros(zeros, { start: update.offsetBytes, end: update.offsetBytes + update.lengthBytes });
        if (zeros.length > MAX_ZERO_RANGES) {
          inspector.stop("VHDX_LOG_TOO_COMPLEX", `the log zeroes more than ${MAX_ZERO_RANGES} ranges`);
        }
        end = Math.max(end, update.offsetBytes + update.lengthBytes);
      } else {
        end = Math.max(end, update.offsetBytes + LOG_SECTOR_BYTES);
        if (!pages.has(update.offsetBytes) && !isCovered(zeros, update.offsetBytes)) {
          pages.set(update.offsetBytes, update);
        }
      }
    }
    this.#pages = [...pages.values()].sort((a, b) => a.offsetBytes - b.offsetBytes);
    this.#zeros = zeros;
    this.sizeBytes = end;
  }

  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    const end = offsetBytes + target.length;
    if (end > this.sizeBytes || offsetBytes < 0) {
      await this.#file.read(offsetBytes, target); // rejects: behind the end
      return;
    }
    const inFile = Math.max(0, Math.min(target.length, this.#file.sizeBytes - offsetBytes));
    if (inFile > 0) await this.#file.read(offsetBytes, target.subarray(0, inFile));
    target.fill(0, inFile);
    for (let at = lowerBound(this.#zeros, (range) => range.end > offsetBytes); ; at++) {
      const range = this.#zeros[at];
      if (range === undefined || range.start >= end) break;
      target.fill(
        0,
        Math.max(0, range.start - offsetBytes),
        Math.min(target.length, range.end - offsetBytes),
      );
    }
    for (
      let at = lowerBound(this.#pages, (page) => page.offsetBytes + LOG_SECTOR_BYTES > offsetBytes);
      ;
      at++
    ) {
      const page = this.#pages[at];
      if (page === undefined || page.offsetBytes >= end) break;
      const bytes = await this.#content(page);
      const from = Math.max(0, offsetBytes - page.offsetBytes);
      const to = Math.min(LOG_SECTOR_BYTES, end - page.offsetBytes);
      target.set(bytes.subarray(from, to), page.offsetBytes + from - offsetBytes);
    }
  }

  async #content(page: Page): Promise<Uint8Array> {
    const bytes = new Uint8Array(LOG_SECTOR_BYTES);
    await this.#replay.ring.read(page.sectorAt, bytes);
    bytes.set(page.leading, 0);
    bytes.set(page.trailing, LOG_SECTOR_BYTES - page.trailing.length);
    return bytes;
  }
}

/** Index of the first element for which `test` holds; the elements for which it fails come first. */
function lowerBound<T>(sorted: readonly T[], test: (element: T) => boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const element = sorted[middle];
    if (element !== undefined && test(element)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function isCovered(zeros: readonly ZeroRange[], offsetBytes: number): boolean {
  const range = zeros[lowerBound(zeros, (each) => each.end > offsetBytes)];
  return range !== undefined && range.start <= offsetBytes;
}

/** Adds a range to a sorted list of disjoint ones and merges what touches. */
function addZeros(zeros: ZeroRange[], added: ZeroRange): void {
  const from = lowerBound(zeros, (each) => each.end >= added.start);
  const to = lowerBound(zeros, (each) => each.start > added.end);
  const start = Math.min(added.start, zeros[from]?.start ?? added.start);
  const end = Math.max(added.end, (to > from ? zeros[to - 1]?.end : undefined) ?? added.end);
  zeros.splice(from, to - from, { start: to > from ? start : added.start, end });
}
