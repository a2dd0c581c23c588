import type { ByteReader } from "./byte-file.ts";
import { isZero, wordsOf } from "./bytes.ts";
import type { Inspector } from "./defects.ts";
import { blockOfIndex, offsetInEntry, STATE, type Geometry } from "./geometry.ts";
import { BITMAP_BLOCK_BYTES, HEADER_AREA_BYTES, MAX_FILE_BYTES, MIB } from "./layout.ts";
import { PAGE_BYTES } from "./page-cache.ts";
import type { Region } from "./region-table.ts";
import { SpaceMap } from "./space-map.ts";

/** What one pass over the BAT finds. */
export interface BatSurvey {
  /** For every 64 KiB of the BAT: the `PAGE_HAS_` flags of the payload entries in it. */
  readonly pageFlags: Uint8Array;
  /** Payload blocks by state. */
  readonly blocksByState: readonly number[];
  readonly bitmapBlocks: number;
  /** End of the last thing in the file, in bytes; what comes after is free. */
  readonly usedBytes: number;
}

/** A block that lies in the file. */
export const PAGE_HAS_PRESENT = 1;
/** A block that is not in state 0: in a differencing disk this file decides about it. */
export const PAGE_HAS_DECIDED = 2;

const READ_BYTES = MIB;
const ENTRIES_PER_PAGE = PAGE_BYTES / 8;

/**
 * Checks every entry of the BAT ([MS-VHDX] §2.5): states, reserved bits, blocks inside the file, nothing overlapping
 * anything. One sequential pass in constant memory plus one bit per MiB of file in use.
 *
 * @param structures header area, log and regions: what no block may touch
 */
export async function surveyBat(
  file: ByteReader,
  bat: Region,
  geometry: Geometry,
  structures: readonly { readonly offsetBytes: number; readonly lengthBytes: number }[],
  inspector: Inspector,
): Promise<BatSurvey> {
  const survey = new Survey(file.sizeBytes, geometry, structures, inspector);
  const batBytes = geometry.batEntries * 8;
  const length = Math.min(READ_BYTES, batBytes);
  // One part is read while the one before is looked at.
  const buffers = [new Uint8Array(length), new Uint8Array(length)] as const;
  const readAt = async (done: number): Promise<Uint8Array> => {
    const buffer = buffers[(done / length) % 2 === 0 ? 0 : 1];
    const part = buffer.subarray(0, Math.min(length, batBytes - done));
    await file.read(bat.offsetBytes + done, part);
    return part;
  };
  let next = readAt(0);
  for (let done = 0; done < batBytes; done += length) {
    const part = await next;
    if (done + length < batBytes) {
      next = readAt(done + length);
      next.catch(() => undefined); // awaited in the next turn, unless this one throws
    }
    for (let at = 0; at < part.length; at += PAGE_BYTES) {
      survey.takePage((done + at) / 8, part.subarray(at, Math.min(part.length, at + PAGE_BYTES)));
    }
  }
  return survey.result();
}

class Survey {
  readonly #fileBytes: number;
  readonly #geometry: Geometry;
  readonly #structures: readonly { readonly offsetBytes: number; readonly lengthBytes: number }[];
  readonly #inspector: Inspector;
  readonly #space = new SpaceMap();
  readonly #pageFlags: Uint8Array;
  readonly #blocksByState = [0, 0, 0, 0, 0, 0, 0, 0];
  #bitmapBlocks = 0;
  #usedBytes = 0;
  #chunkHasPartial = false;

  constructor(
    fileBytes: number,
    geometry: Geometry,
    structures: readonly { readonly offsetBytes: number; readonly lengthBytes: number }[],
    inspector: Inspector,
  ) {
    this.#fileBytes = fileBytes;
    this.#geometry = geometry;
    this.#structures = structures;
    this.#inspector = inspector;
    this.#pageFlags = new Uint8Array(Math.ceil(geometry.batEntries / ENTRIES_PER_PAGE));
    for (const { offsetBytes, lengthBytes } of structures) {
      this.#space.claim(offsetBytes / MIB, lengthBytes / MIB);
      this.#usedBytes = Math.max(this.#usedBytes, offsetBytes + lengthBytes);
    }
  }

  result(): BatSurvey {
    const [, ...others] = this.#blocksByState;
    const notPresent = others.reduce((left, count) => left - count, this.#geometry.payloadBlocks);
    return {
      pageFlags: this.#pageFlags,
      blocksByState: [notPresent, ...others],
      bitmapBlocks: this.#bitmapBlocks,
      usedBytes: this.#usedBytes,
    };
  }

  /** Takes the entries of one page. Most pages of most disks say nothing, or ZERO throughout: these cost little. */
  takePage(firstIndex: number, page: Uint8Array): void {
    if (!this.#chunkHasPartial && isZero(page)) return;
    const words = wordsOf(page);
    const { chunkRatio } = this.#geometry;
    const stride = chunkRatio + 1;
    let inChunk = firstIndex % stride;
    // Entries behind the last block fill up the last chunk of a differencing disk's BAT and describe nothing.
    const lastIndex = firstIndex + words.length / 2 - 1;
    const isInDisk = blockOfIndex(this.#geometry, lastIndex) < this.#geometry.payloadBlocks;
    let zeroBlocks = 0;
    for (let at = 0; at < words.length; at += 2) {
      const lower = words[at] ?? 0;
      const upper = words[at + 1] ?? 0;
      if (inChunk === chunkRatio) {
        this.#takeBitmap(firstIndex + at / 2, lower, upper);
        inChunk = 0;
        continue;
      }
      inChunk++;
      if (isInDisk && upper === 0 && lower === STATE.zero) zeroBlocks++;
      else if ((lower | upper) !== 0) this.#takePayload(firstIndex + at / 2, lower, upper);
    }
    if (zeroBlocks === 0) return;
    this.#blocksByState[STATE.zero] = (this.#blocksByState[STATE.zero] ?? 0) + zeroBlocks;
    this.#flag(firstIndex, PAGE_HAS_DECIDED);
  }

  #takePayload(index: number, lower: number, upper: number): void {
    const block = blockOfIndex(this.#geometry, index);
    const state = lower & 7;
    if (block >= this.#geometry.payloadBlocks) return; // fills up the last chunk of a differencing disk's BAT
    this.#blocksByState[state] = (this.#blocksByState[state] ?? 0) + 1;
    if (state !== STATE.notPresent) this.#flag(index, PAGE_HAS_DECIDED);
    if (lower & 0x000f_fff8) {
      this.#inspector.refuse(
        "VHDX_BAT_RESERVED_NONZERO",
        `reserved bits of the BAT entry of block ${block} are not zero`,
      );
    }
    switch (state) {
      case STATE.notPresent:
      case STATE.zero:
        return; // the offset is reserved and may hold anything
      case STATE.undefined:
      case STATE.unmapped:
        this.#keepFormerPlace(offsetInEntry(lower, upper));
        return;
      case STATE.fullyPresent:
        break;
      case STATE.partiallyPresent:
        this.#chunkHasPartial = true;
        if (!this.#geometry.hasParent) {
          this.#inspector.refuse(
            "VHDX_BAT_PARTIAL_WITHOUT_PARENT",
            `block ${block} is said to be partially present, but the disk has no parent`,
          );
        }
        break;
      default:
        this.#inspector.refuse("VHDX_BAT_STATE_RESERVED", `block ${block} has the reserved state ${state}`);
        return;
    }
    this.#flag(index, PAGE_HAS_PRESENT);
    this.#claim("block", block, offsetInEntry(lower, upper), this.#geometry.blockBytes);
  }

  #takeBitmap(index: number, lower: number, upper: number): void {
    const chunk = Math.floor(index / (this.#geometry.chunkRatio + 1));
    const state = lower & 7;
    const needsBitmap = this.#chunkHasPartial && this.#geometry.hasParent;
    this.#chunkHasPartial = false;
    if (lower & 0x000f_fff8) {
      this.#inspector.refuse(
        "VHDX_BAT_RESERVED_NONZERO",
        `reserved bits of the BAT entry of sector bitmap ${chunk} are not zero`,
      );
    }
    if (state === STATE.notPresent) {
      if (needsBitmap) {
        this.#inspector.refuse(
          "VHDX_BITMAP_MISSING",
          `sector bitmap ${chunk} is absent, but blocks of its chunk are partially present`,
        );
      }
      return;
    }
    if (state !== STATE.fullyPresent) {
      this.#inspector.refuse(
        "VHDX_BITMAP_STATE_RESERVED",
        `sector bitmap ${chunk} has the reserved state ${state}`,
      );
    } else if (!this.#geometry.hasParent) {
      this.#inspector.refuse(
        "VHDX_BITMAP_WITHOUT_PARENT",
        `sector bitmap ${chunk} is present, but the disk has no parent`,
      );
    } else {
      this.#bitmapBlocks++;
      this.#claim("sector bitmap", chunk, offsetInEntry(lower, upper), BITMAP_BLOCK_BYTES);
    }
  }

  #flag(index: number, flag: number): void {
    const page = Math.floor(index / ENTRIES_PER_PAGE);
    this.#pageFlags[page] = (this.#pageFlags[page] ?? 0) | flag;
  }

  #claim(kind: string, number: number, offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes < HEADER_AREA_BYTES || offsetBytes > MAX_FILE_BYTES) {
      this.#inspector.refuse(
        "VHDX_BAT_OFFSET_INVALID",
        `${kind} ${number} is said to be at offset ${offsetBytes}`,
      );
      return;
    }
    if (offsetBytes + lengthBytes > this.#fileBytes) {
      this.#inspector.refuse(
        "VHDX_BLOCK_BEYOND_FILE",
        `${kind} ${number} (${lengthBytes} bytes at offset ${offsetBytes}) passes the end of the file (${this.#fileBytes} bytes)`,
      );
      return;
    }
    this.#usedBytes = Math.max(this.#usedBytes, offsetBytes + lengthBytes);
    if (this.#space.claim(offsetBytes / MIB, lengthBytes / MIB)) return;
    const structure = this.#structures.find(
      (each) =>
        offsetBytes < each.offsetBytes + each.lengthBytes && offsetBytes + lengthBytes > each.offsetBytes,
    );
    if (structure === undefined) {
      this.#inspector.refuse(
        "VHDX_BLOCKS_OVERLAP",
        `${kind} ${number} at offset ${offsetBytes} overlaps another block`,
      );
    } else {
      this.#inspector.refuse(
        "VHDX_BLOCK_OVERLAPS_STRUCTURE",
        `${kind} ${number} at offset ${offsetBytes} overlaps the log or a region at offset ${structure.offsetBytes}`,
      );
    }
  }

  /** A block in state 1 or 3 may still own the place it had; a writer must not put anything there. */
  #keepFormerPlace(offsetBytes: number): void {
    const end = offsetBytes + this.#geometry.blockBytes;
    if (offsetBytes >= HEADER_AREA_BYTES && end <= this.#fileBytes) {
      this.#usedBytes = Math.max(this.#usedBytes, end);
    }
  }
}
