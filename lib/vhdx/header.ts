import type { ByteReader } from "./byte-file.ts";
import { ascii, putAscii, readU64, viewOf, writeU64 } from "./bytes.ts";
import { structureChecksum } from "./crc32c.ts";
import type { Inspector } from "./defects.ts";
import { NIL_GUID, readGuid, writeGuid, type Guid } from "./guid.ts";
import { HEADER_AREA_BYTES, HEADER_BYTES, HEADER_OFFSETS, KIB, MIB } from "./layout.ts";

/** The header of a VHDX file ([MS-VHDX] §2.2.2). */
export interface Header {
  readonly sequenceNumber: bigint;
  readonly fileWriteGuid: Guid;
  /** Identity of the content; a child names its parent by it. */
  readonly dataWriteGuid: Guid;
  /** NIL when the log is empty. */
  readonly logGuid: Guid;
  readonly logVersion: number;
  readonly version: number;
  readonly logLengthBytes: number;
  readonly logOffsetBytes: number;
}

/** The current header and the slot (0 or 1) that it stands in. */
export interface CurrentHeader {
  readonly header: Header;
  readonly slot: 0 | 1;
}

export const FILE_IDENTIFIER_BYTES = 8 + 512;

/** Reads the identifier and gives the creator, a text that only people should read (§2.2.1). */
export async function readFileIdentifier(file: ByteReader, inspector: Inspector): Promise<string> {
  if (file.sizeBytes < HEADER_AREA_BYTES) {
    const start = new Uint8Array(Math.min(8, file.sizeBytes));
    await file.read(0, start);
    if (ascii(start, 0, start.length) !== "vhdxfile") {
      inspector.stop("VHDX_NOT_VHDX", "the file does not begin with the VHDX signature; it is no VHDX file");
    }
    inspector.stop(
      "VHDX_FILE_TOO_SHORT",
      `the file has ${file.sizeBytes} bytes, but the headers alone take ${HEADER_AREA_BYTES}`,
      { sizeBytes: file.sizeBytes },
    );
  }
  const bytes = new Uint8Array(FILE_IDENTIFIER_BYTES);
  await file.read(0, bytes);
  if (ascii(bytes, 0, 8) !== "vhdxfile") {
    inspector.stop("VHDX_NOT_VHDX", "the file does not begin with the VHDX signature; it is no VHDX file");
  }
  const creator = new TextDecoder("utf-16le").decode(bytes.subarray(8));
  const end = creator.indexOf("\0");
  return end < 0 ? creator : creator.slice(0, end);
}

/**
 * Reads both headers and gives the current one: the valid one with the greater sequence number, of two with equal
 * numbers the first. Checks the versions and that the log lies inside the file.
 */
export async function readCurrentHeader(file: ByteReader, inspector: Inspector): Promise<CurrentHeader> {
  const [first, second] = await Promise.all(HEADER_OFFSETS.map((offset) => readHeader(file, offset)));
  if (first === undefined && second === undefined) {
    inspector.stop("VHDX_HEADERS_INVALID", "neither header has a good signature and checksum");
  }
  if (first === undefined || second === undefined) {
    const bad = first === undefined ? 1 : 2;
    inspector.note(
      "VHDX_HEADER_COPY_INVALID",
      `header ${bad} has no good signature and checksum; the other is used`,
    );
  }
  const current = pick(first, second);
  checkHeader(current.header, file.sizeBytes, inspector);
  return current;
}

function pick(first: Header | undefined, second: Header | undefined): CurrentHeader {
  if (first !== undefined && (second === undefined || first.sequenceNumber >= second.sequenceNumber)) {
    return { header: first, slot: 0 };
  }
  if (second === undefined) throw new RangeError("no header");
  return { header: second, slot: 1 };
}

async function readHeader(file: ByteReader, offsetBytes: number): Promise<Header | undefined> {
  const bytes = new Uint8Array(HEADER_BYTES);
  await file.read(offsetBytes, bytes);
  const view = viewOf(bytes);
  if (ascii(bytes, 0, 4) !== "head" || view.getUint32(4, true) !== structureChecksum(bytes)) return undefined;
  return {
    sequenceNumber: view.getBigUint64(8, true),
    fileWriteGuid: readGuid(bytes, 16),
    dataWriteGuid: readGuid(bytes, 32),
    logGuid: readGuid(bytes, 48),
    logVersion: view.getUint16(64, true),
    version: view.getUint16(66, true),
    logLengthBytes: view.getUint32(68, true),
    logOffsetBytes: readU64(view, 72),
  };
}

function checkHeader(header: Header, fileBytes: number, inspector: Inspector): void {
  if (header.version !== 1) {
    inspector.stop("VHDX_VERSION_UNSUPPORTED", `the file has format version ${header.version}, known is 1`);
  }
  const isDirty = header.logGuid !== NIL_GUID;
  if (header.logVersion !== 0 && isDirty) {
    inspector.stop(
      "VHDX_LOG_VERSION_UNSUPPORTED",
      `the log must be replayed, but has version ${header.logVersion}; known is 0`,
    );
  }
  const { logOffsetBytes: offset, logLengthBytes: length } = header;
  if (length % MIB !== 0 || offset % MIB !== 0 || (length > 0 && offset < HEADER_AREA_BYTES)) {
    inspector.stop(
      "VHDX_LOG_PLACE_INVALID",
      `the log is said to be ${length} bytes at offset ${offset}; both must be multiples of 1 MiB behind the headers`,
    );
  }
  if (length === 0 && isDirty) {
    inspector.stop("VHDX_LOG_PLACE_INVALID", "the log must be replayed, but its length is zero");
  }
  if (length > 0 && offset + length > fileBytes) {
    inspector.stop(
      "VHDX_LOG_BEYOND_FILE",
      `the log (${length} bytes at offset ${offset}) passes the end of the file (${fileBytes} bytes)`,
    );
  }
}

/** The 4 KiB of a header, with its checksum. */
export function encodeHeader(header: Header): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  putAscii("head", bytes, 0);
  view.setBigUint64(8, header.sequenceNumber, true);
  writeGuid(header.fileWriteGuid, bytes, 16);
  writeGuid(header.dataWriteGuid, bytes, 32);
  writeGuid(header.logGuid, bytes, 48);
  view.setUint16(64, header.logVersion, true);
  view.setUint16(66, header.version, true);
  view.setUint32(68, header.logLengthBytes, true);
  writeU64(view, 72, header.logOffsetBytes);
  view.setUint32(4, structureChecksum(bytes), true);
  return bytes;
}

/** The first 64 KiB of a new file: signature and creator. */
export function encodeFileIdentifier(creator: string): Uint8Array {
  const bytes = new Uint8Array(64 * KIB);
  putAscii("vhdxfile", bytes, 0);
  const view = viewOf(bytes);
  for (let index = 0; index < Math.min(creator.length, 255); index++) {
    view.setUint16(8 + 2 * index, creator.charCodeAt(index), true);
  }
  return bytes;
}
