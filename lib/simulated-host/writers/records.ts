import { mix, PAGE_BYTES, RUN_BYTES, RUN_PAGES, type WriterPlan } from "./plan.ts";

/*
 * One page of 4096 bytes, little-endian:
 *   0  8 bytes  "GCBPAGE1" page of the shared area, "GCBINTN1" intent record, "GCBCMIT1" commit record
 *   8  u32      page number in the area, or member
 *  12  u32      0
 *  16  u64      transaction
 *  24  4064 B   a body that follows from seed, kind, place and transaction
 * 4088 u64      transaction again, so that a page of two halves shows
 */

export type RecordKind = "page" | "intent" | "commit";

const MAGIC: Readonly<Record<RecordKind, string>> = {
  page: "GCBPAGE1",
  intent: "GCBINTN1",
  commit: "GCBCMIT1",
};
const SALT: Readonly<Record<RecordKind, number>> = { page: 1, intent: 2, commit: 3 };

/**
 * Writes a record into `target`, which has 4096 bytes.
 *
 * @param place page number in the area, or member
 */
export function writeRecord(
  plan: WriterPlan,
  kind: RecordKind,
  place: number,
  transaction: number,
  target: Uint8Array,
): void {
  const view = new DataView(target.buffer, target.byteOffset, PAGE_BYTES);
  for (let at = 0; at < 8; at++) view.setUint8(at, MAGIC[kind].charCodeAt(at));
  view.setUint32(8, place, true);
  view.setUint32(12, 0, true);
  view.setBigUint64(16, BigInt(transaction), true);
  fillBody(view, mix(plan.seed ^ SALT[kind], transaction, place), isCompressible(place));
  view.setBigUint64(PAGE_BYTES - 8, BigInt(transaction), true);
}

export function recordOf(
  plan: WriterPlan,
  kind: RecordKind,
  place: number,
  transaction: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(PAGE_BYTES);
  writeRecord(plan, kind, place, transaction, bytes);
  return bytes;
}

/** All pages of one run as a transaction writes them. */
export function runContent(plan: WriterPlan, run: number, transaction: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(RUN_BYTES);
  for (let page = 0; page < RUN_PAGES; page++) {
    writeRecord(
      plan,
      "page",
      run * RUN_PAGES + page,
      transaction,
      bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES),
    );
  }
  return bytes;
}

/** The transaction that a page says it is of, or undefined when it is not such a record. Says nothing about the rest of it. */
export function stampOf(bytes: Uint8Array, kind: RecordKind): number | undefined {
  for (let at = 0; at < 8; at++) if (bytes[at] !== MAGIC[kind].charCodeAt(at)) return undefined;
  const stamp = new DataView(bytes.buffer, bytes.byteOffset, PAGE_BYTES).getBigUint64(16, true);
  return stamp > 0n && stamp < 2n ** 53n ? Number(stamp) : undefined;
}

/** Every second run is compressible, like the free space and text of a database; the other looks like packed data. */
function isCompressible(place: number): boolean {
  return Math.floor(place / RUN_PAGES) % 2 === 1;
}

function fillBody(view: DataView, seed: number, compressible: boolean): void {
  let state = seed | 1;
  for (let at = 24; at < PAGE_BYTES - 8; at += 4) {
    if (!compressible || at % 64 === 0) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
    }
    view.setUint32(at, state, true);
  }
}
