import type { ByteReader } from "./byte-file.ts";
import { ascii, putAscii, readU64, viewOf, writeU64 } from "./bytes.ts";
import { crc32c, structureChecksum } from "./crc32c.ts";
import type { DefectCode } from "./defects.ts";
import { readGuid, writeGuid, type Guid } from "./guid.ts";
import { FIRST_LOGGABLE_BYTE, KIB, LOG_SECTOR_BYTES, MAX_FILE_BYTES, MIB } from "./layout.ts";

const ENTRY_HEADER_BYTES = 64;
const DESCRIPTOR_BYTES = 32;
/** As many 4 KiB updates as a log of 1 GiB can hold; no sensible writer comes near. */
export const MAX_DESCRIPTORS = 2 ** 18;
const PIECE_BYTES = 256 * KIB;

/** Reads in the log's ring: what passes its end goes on at its start. */
export class LogRing {
  readonly #file: ByteReader;
  readonly offsetBytes: number;
  readonly lengthBytes: number;

  constructor(file: ByteReader, offsetBytes: number, lengthBytes: number) {
    this.#file = file;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
  }

  async read(at: number, target: Uint8Array): Promise<void> {
    const start = at % this.lengthBytes;
    const straight = Math.min(target.length, this.lengthBytes - start);
    await this.#file.read(this.offsetBytes + start, target.subarray(0, straight));
    if (straight < target.length) await this.#file.read(this.offsetBytes, target.subarray(straight));
  }

  /** Byte offset in the file of a place in the ring. */
  fileOffset(at: number): number {
    return this.offsetBytes + (at % this.lengthBytes);
  }
}

/** The header of a log entry ([MS-VHDX] §2.3.1.1), `at` counted from the start of the ring. */
export interface EntryHeader {
  readonly at: number;
  readonly lengthBytes: number;
  readonly tailAt: number;
  readonly sequenceNumber: bigint;
  readonly descriptorCount: number;
  readonly flushedFileBytes: number;
  readonly lastFileBytes: number;
}

/** One update: zeros over a range, or the 4 KiB that a data sector of the ring holds. */
export type LogUpdate =
  | { readonly kind: "zero"; readonly offsetBytes: number; readonly lengthBytes: number }
  | {
      readonly kind: "page";
      readonly offsetBytes: number;
      readonly leading: Uint8Array;
      readonly trailing: Uint8Array;
      readonly sectorAt: number;
    };

/**
 * What stands at a place of the ring. `torn`: no whole entry of this log. `defective`: an entry whose checksum is
 * good, so that it was written like this, but which breaks a rule.
 */
export type EntryFinding =
  | { readonly kind: "valid"; readonly header: EntryHeader }
  | { readonly kind: "torn" }
  | {
      readonly kind: "defective";
      readonly sequenceNumber: bigint;
      readonly code: DefectCode;
      readonly message: string;
    };

function descriptorAreaBytes(count: number): number {
  return Math.ceil((ENTRY_HEADER_BYTES + DESCRIPTOR_BYTES * count) / LOG_SECTOR_BYTES) * LOG_SECTOR_BYTES;
}

/** Whether a sector of the ring may begin an entry of the log with this id: a cheap look before the costly one. */
export function mayBeginEntry(sector: Uint8Array, logGuid: Guid): boolean {
  return ascii(sector, 0, 4) === "loge" && readGuid(sector, 32) === logGuid;
}

/**
 * Examines one entry, checksum first.
 *
 * @param spend called with the bytes about to be read; throws when a hostile ring makes the sum absurd
 */
export async function examineEntry(
  ring: LogRing,
  at: number,
  fileBytes: number,
  spend: (bytes: number) => void,
): Promise<EntryFinding> {
  const first = new Uint8Array(LOG_SECTOR_BYTES);
  await ring.read(at, first);
  const view = viewOf(first);
  const lengthBytes = view.getUint32(8, true);
  if (lengthBytes === 0 || lengthBytes % LOG_SECTOR_BYTES !== 0 || lengthBytes > ring.lengthBytes) {
    return { kind: "torn" };
  }
  spend(lengthBytes);
  if ((await checksumOfEntry(ring, at, lengthBytes)) !== view.getUint32(4, true)) return { kind: "torn" };
  const header: EntryHeader = {
    at,
    lengthBytes,
    tailAt: view.getUint32(12, true),
    sequenceNumber: view.getBigUint64(16, true),
    descriptorCount: view.getUint32(24, true),
    flushedFileBytes: readU64(view, 48),
    lastFileBytes: readU64(view, 56),
  };
  const problem =
    problemOfHeader(header, view, ring) ?? (await problemOfContent(ring, header, fileBytes)) ?? undefined;
  if (problem === undefined) return { kind: "valid", header };
  return {
    kind: "defective",
    sequenceNumber: header.sequenceNumber,
    code: problem[0],
    message: `log entry ${header.sequenceNumber}: ${problem[1]}`,
  };
}

async function checksumOfEntry(ring: LogRing, at: number, lengthBytes: number): Promise<number> {
  const piece = new Uint8Array(Math.min(PIECE_BYTES, lengthBytes));
  let crc = 0;
  for (let done = 0; done < lengthBytes; done += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, lengthBytes - done));
    await ring.read(at + done, part);
    if (done === 0) part.fill(0, 4, 8);
    crc = crc32c(part, crc);
  }
  return crc;
}

type Problem = readonly [DefectCode, string];

function problemOfHeader(header: EntryHeader, view: DataView, ring: LogRing): Problem | undefined {
  if (header.sequenceNumber === 0n) return ["VHDX_LOG_ENTRY_INVALID", "its sequence number is zero"];
  if (view.getUint32(28, true) !== 0) return ["VHDX_LOG_ENTRY_INVALID", "its reserved bytes are not zero"];
  if (header.tailAt % LOG_SECTOR_BYTES !== 0 || header.tailAt >= ring.lengthBytes) {
    return ["VHDX_LOG_ENTRY_INVALID", `its tail ${header.tailAt} is no sector of the log`];
  }
  if (header.descriptorCount > MAX_DESCRIPTORS) {
    return ["VHDX_LOG_TOO_COMPLEX", `it says it has ${header.descriptorCount} descriptors`];
  }
  if (descriptorAreaBytes(header.descriptorCount) > header.lengthBytes) {
    return ["VHDX_LOG_ENTRY_INVALID", `${header.descriptorCount} descriptors do not fit into the entry`];
  }
  for (const bytes of [header.flushedFileBytes, header.lastFileBytes]) {
    if (bytes % MIB !== 0 || bytes > MAX_FILE_BYTES) {
      return ["VHDX_LOG_FILE_SIZE_INVALID", `it gives ${bytes} as a size of the file`];
    }
  }
  return undefined;
}

async function problemOfContent(
  ring: LogRing,
  header: EntryHeader,
  fileBytes: number,
): Promise<Problem | undefined> {
  const area = new Uint8Array(descriptorAreaBytes(header.descriptorCount));
  await ring.read(header.at, area);
  const view = viewOf(area);
  let pages = 0;
  for (let index = 0; index < header.descriptorCount; index++) {
    const at = ENTRY_HEADER_BYTES + DESCRIPTOR_BYTES * index;
    const problem = problemOfDescriptor(view, at, area, ring, header, fileBytes);
    if (problem !== undefined) return problem;
    if (ascii(area, at, 4) === "desc") pages++;
  }
  if (area.length + pages * LOG_SECTOR_BYTES !== header.lengthBytes) {
    return [
      "VHDX_LOG_ENTRY_INVALID",
      `its length ${header.lengthBytes} does not agree with its ${pages} data descriptors`,
    ];
  }
  const sector = new Uint8Array(LOG_SECTOR_BYTES);
  for (let index = 0; index < pages; index++) {
    await ring.read(header.at + area.length + index * LOG_SECTOR_BYTES, sector);
    const words = viewOf(sector);
    const sequence =
      (BigInt(words.getUint32(4, true)) << 32n) | BigInt(words.getUint32(LOG_SECTOR_BYTES - 4, true));
    if (ascii(sector, 0, 4) !== "data" || sequence !== header.sequenceNumber) {
      return ["VHDX_LOG_DATA_SECTOR_INVALID", `its data sector ${index} belongs to another entry`];
    }
  }
  return undefined;
}

function problemOfDescriptor(
  view: DataView,
  at: number,
  area: Uint8Array,
  ring: LogRing,
  header: EntryHeader,
  fileBytes: number,
): Problem | undefined {
  const signature = ascii(area, at, 4);
  if (signature !== "desc" && signature !== "zero") {
    return ["VHDX_LOG_DESCRIPTOR_INVALID", "a descriptor has no known signature"];
  }
  if (view.getBigUint64(at + 24, true) !== header.sequenceNumber) {
    return ["VHDX_LOG_DESCRIPTOR_INVALID", "a descriptor has the sequence number of another entry"];
  }
  const offset = readU64(view, at + 16);
  const length = signature === "desc" ? LOG_SECTOR_BYTES : readU64(view, at + 8);
  if (signature === "zero") {
    if (view.getUint32(at + 4, true) !== 0) {
      return ["VHDX_LOG_DESCRIPTOR_INVALID", "reserved bytes of a zero descriptor are not zero"];
    }
    if (length % LOG_SECTOR_BYTES !== 0 || offset + length > Math.max(fileBytes, header.lastFileBytes)) {
      return [
        "VHDX_LOG_ZERO_LENGTH_INVALID",
        `it would write zeros (${length} bytes at offset ${offset}) that are not 4 KiB sectors inside the file`,
      ];
    }
  }
  if (offset % LOG_SECTOR_BYTES !== 0) {
    return ["VHDX_LOG_TARGET_UNALIGNED", `it would write at offset ${offset}, not a multiple of 4 KiB`];
  }
  if (offset < FIRST_LOGGABLE_BYTE) {
    return ["VHDX_LOG_TARGET_IN_HEADERS", `it would write at offset ${offset}, into the headers`];
  }
  if (offset + length > MAX_FILE_BYTES) {
    return ["VHDX_LOG_TARGET_BEYOND_LIMIT", `it would write at offset ${offset}, behind any possible file`];
  }
  if (offset < ring.offsetBytes + ring.lengthBytes && offset + length > ring.offsetBytes) {
    return ["VHDX_LOG_TARGET_IN_LOG", `it would write at offset ${offset}, into the log itself`];
  }
  return undefined;
}

/** The updates of an entry that `examineEntry` found valid, in order. Page contents stay in the ring. */
export async function readUpdates(ring: LogRing, header: EntryHeader): Promise<LogUpdate[]> {
  const area = new Uint8Array(descriptorAreaBytes(header.descriptorCount));
  await ring.read(header.at, area);
  const view = viewOf(area);
  const updates: LogUpdate[] = [];
  let sectorAt = header.at + area.length;
  for (let index = 0; index < header.descriptorCount; index++) {
    const at = ENTRY_HEADER_BYTES + DESCRIPTOR_BYTES * index;
    const offsetBytes = readU64(view, at + 16);
    if (ascii(area, at, 4) === "zero") {
      updates.push({ kind: "zero", offsetBytes, lengthBytes: readU64(view, at + 8) });
    } else {
      const trailing = area.slice(at + 4, at + 8);
      updates.push({ kind: "page", offsetBytes, leading: area.slice(at + 8, at + 16), trailing, sectorAt });
      sectorAt += LOG_SECTOR_BYTES;
    }
  }
  return updates;
}

/** A 4 KiB page of metadata and its place in the file. */
export interface LoggedPage {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/** Encodes an entry that writes `pages`; its length is a multiple of 4 KiB (§2.3.1). */
export function encodeEntry(
  header: Omit<EntryHeader, "at" | "lengthBytes" | "descriptorCount"> & { readonly logGuid: Guid },
  pages: readonly LoggedPage[],
): Uint8Array {
  const areaBytes = descriptorAreaBytes(pages.length);
  const entry = new Uint8Array(areaBytes + pages.length * LOG_SECTOR_BYTES);
  const view = viewOf(entry);
  putAscii("loge", entry, 0);
  view.setUint32(8, entry.length, true);
  view.setUint32(12, header.tailAt, true);
  view.setBigUint64(16, header.sequenceNumber, true);
  view.setUint32(24, pages.length, true);
  writeGuid(header.logGuid, entry, 32);
  writeU64(view, 48, header.flushedFileBytes);
  writeU64(view, 56, header.lastFileBytes);
  pages.forEach((page, index) => {
    const at = ENTRY_HEADER_BYTES + DESCRIPTOR_BYTES * index;
    putAscii("desc", entry, at);
    entry.set(page.bytes.subarray(LOG_SECTOR_BYTES - 4), at + 4);
    entry.set(page.bytes.subarray(0, 8), at + 8);
    writeU64(view, at + 16, page.offsetBytes);
    view.setBigUint64(at + 24, header.sequenceNumber, true);
    const sector = areaBytes + index * LOG_SECTOR_BYTES;
    entry.set(page.bytes, sector);
    putAscii("data", entry, sector);
    view.setUint32(sector + 4, Number(header.sequenceNumber >> 32n), true);
    view.setUint32(sector + LOG_SECTOR_BYTES - 4, Number(header.sequenceNumber & 0xffff_ffffn), true);
  });
  view.setUint32(4, structureChecksum(entry), true);
  return entry;
}
