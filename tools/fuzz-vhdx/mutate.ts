import { crc32c, structureChecksum } from "../../lib/vhdx/crc32c.ts";
import type { Random } from "./random.ts";

const KIB = 1_024;
const MIB = 1_048_576;

/** Where the corpus has its structures (`lib/vhdx/new-file.ts`). */
const HEADERS = [64 * KIB, 128 * KIB] as const;
const REGION_TABLES = [192 * KIB, 256 * KIB] as const;
const LOG = MIB;
const METADATA = 2 * MIB;
const ITEMS = METADATA + 64 * KIB;
const BAT = 3 * MIB;

type Mutation = (bytes: Uint8Array, random: Random) => void;

/** Bends some fields of a file in place, mostly with good checksums, and may cut it or make it longer. */
export function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  let bent = bytes;
  const count = 1 + random.below(4);
  for (let index = 0; index < count; index++) random.pick(MUTATIONS)(bent, random);
  if (random.isOneIn(8)) bent = resized(bent, random);
  return bent;
}

const MUTATIONS: readonly Mutation[] = [
  bendHeader,
  bendRegionTable,
  bendMetadataTable,
  bendItems,
  bendBat,
  bendBat,
  bendLogEntry,
  bendLogEntry,
  makeDirty,
  moveLogSector,
  flipBits,
];

function bendHeader(bytes: Uint8Array, random: Random): void {
  const field = random.pick([
    [8, 8],
    [48, 8],
    [64, 2],
    [66, 2],
    [68, 4],
    [72, 8],
  ] as const);
  const isBoth = !random.isOneIn(3);
  const value = interesting(random, bytes.length);
  for (const at of isBoth ? HEADERS : [random.pick(HEADERS)]) {
    setNumber(bytes, at + field[0], field[1], value);
    seal(bytes, at, 4 * KIB, random);
  }
}

function bendRegionTable(bytes: Uint8Array, random: Random): void {
  const entry = 16 + 32 * random.below(4);
  const field = random.pick([
    [8, 4],
    [entry, 8],
    [entry + 16, 8],
    [entry + 24, 4],
    [entry + 28, 4],
  ] as const);
  const isBoth = !random.isOneIn(3);
  const value = interesting(random, bytes.length);
  for (const at of isBoth ? REGION_TABLES : [random.pick(REGION_TABLES)]) {
    setNumber(bytes, at + field[0], field[1], value);
    seal(bytes, at, 64 * KIB, random);
  }
}

function bendMetadataTable(bytes: Uint8Array, random: Random): void {
  const entry = METADATA + 32 + 32 * random.below(8);
  const [at, width] = random.pick([
    [METADATA + 8, 2],
    [METADATA + 10, 2],
    [entry, 8],
    [entry + 16, 4],
    [entry + 20, 4],
    [entry + 24, 4],
    [entry + 28, 4],
  ] as const);
  setNumber(bytes, at, width, interesting(random, bytes.length));
}

/** Block size, disk size, sectors, id and locator stand one behind another. */
function bendItems(bytes: Uint8Array, random: Random): void {
  const at = ITEMS + random.pick([0, 4, 8, 16, 20, 40, 56, 58, 60, 64, 68, 70, random.below(400)]);
  setNumber(bytes, at, random.pick([1, 2, 4, 8]), interesting(random, bytes.length));
}

function bendBat(bytes: Uint8Array, random: Random): void {
  const index = random.pick([random.below(10), random.below(10), 4_096, 4_097, random.below(70_000)]);
  const state = BigInt(random.below(8));
  const megabyte = random.isOneIn(4)
    ? interesting(random, bytes.length) & 0xfff_ffff_ffffn
    : BigInt(random.below(bytes.length / MIB + 3));
  const reserved = random.isOneIn(20) ? 0x80000n : 0n;
  setNumber(bytes, BAT + 8 * index, 8, (megabyte << 20n) | reserved | state);
}

function bendLogEntry(bytes: Uint8Array, random: Random): void {
  const entries = logEntries(bytes);
  if (entries.length === 0) return;
  const at = random.pick(entries);
  const descriptor = 64 + 32 * random.below(3);
  const data = 4_096 * (1 + random.below(2));
  const [field, width] = random.pick([
    [8, 4],
    [12, 4],
    [16, 8],
    [24, 4],
    [28, 4],
    [48, 8],
    [56, 8],
    [descriptor, 4],
    [descriptor + 4, 4],
    [descriptor + 8, 8],
    [descriptor + 16, 8],
    [descriptor + 24, 8],
    [data, 4],
    [data + 4, 4],
    [data + 4_092, 4],
    [data + 8 + 8 * random.below(500), 8],
  ] as const);
  if (random.isOneIn(4)) bytes.set([0x7a, 0x65, 0x72, 0x6f], at + descriptor); // "zero"
  setNumber(bytes, at + field, width, interesting(random, bytes.length));
  sealLogEntry(bytes, at, random);
}

/** Gives the headers the LogGuid of an entry, so that a clean file's old entries are replayed. */
function makeDirty(bytes: Uint8Array, random: Random): void {
  const entries = logEntries(bytes);
  const guid =
    entries.length === 0 ? new Uint8Array(16).fill(1) : bytes.slice(random.pick(entries) + 32).slice(0, 16);
  for (const at of HEADERS) {
    bytes.set(guid, at + 48);
    seal(bytes, at, 4 * KIB, random);
  }
}

function moveLogSector(bytes: Uint8Array, random: Random): void {
  const entries = logEntries(bytes);
  if (entries.length === 0) return;
  const from = random.pick(entries) + 4_096 * random.below(2);
  const length = 4_096 * (1 + random.below(3));
  bytes.copyWithin(LOG + 4_096 * random.below(252), from, from + length);
}

function flipBits(bytes: Uint8Array, random: Random): void {
  const area = random.pick([0, HEADERS[0], REGION_TABLES[0], LOG, METADATA, ITEMS, BAT]);
  for (let count = 1 + random.below(8); count > 0; count--) {
    const at = area + random.below(8_192);
    if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
  }
}

function resized(bytes: Uint8Array, random: Random): Uint8Array {
  const length = random.pick([
    random.below(bytes.length),
    Math.floor(random.below(bytes.length) / MIB) * MIB,
    bytes.length - 512,
    random.below(2 * MIB),
  ]);
  return bytes.subarray(0, length);
}

/** Values at which arithmetic on sizes and offsets goes wrong, if it does. */
function interesting(random: Random, fileBytes: number): bigint {
  const power = 1n << BigInt(random.below(65));
  return random.pick([
    0n,
    1n,
    power,
    power - 1n,
    power + 1n,
    0xffff_ffff_ffff_ffffn,
    BigInt(MIB * (1 + random.below(12))),
    BigInt(4_096 * random.below(300)),
    BigInt(fileBytes),
    BigInt(fileBytes) + BigInt(MIB),
    BigInt(random.below(64)),
    BigInt(random.next()),
    (BigInt(random.next()) << 32n) | BigInt(random.next()),
  ]);
}

function setNumber(bytes: Uint8Array, at: number, width: number, value: bigint): void {
  let rest = value;
  for (let index = 0; index < width && at + index < bytes.length; index++) {
    bytes[at + index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
}

/** Mostly a good checksum: what fails it is refused early and tells little. */
function seal(bytes: Uint8Array, at: number, length: number, random: Random): void {
  if (random.isOneIn(20) || at + length > bytes.length) return;
  setNumber(bytes, at + 4, 4, BigInt(structureChecksum(bytes.subarray(at, at + length))));
}

function sealLogEntry(bytes: Uint8Array, at: number, random: Random): void {
  const length = new DataView(bytes.buffer, bytes.byteOffset + at + 8, 4).getUint32(0, true);
  if (random.isOneIn(20) || length < 64 || length > MIB) return;
  const ring = bytes.subarray(LOG, LOG + MIB);
  const entry = new Uint8Array(length);
  for (let index = 0; index < length; index++) entry[index] = ring[(at - LOG + index) % MIB] ?? 0;
  entry.fill(0, 4, 8);
  setNumber(bytes, at + 4, 4, BigInt(crc32c(entry)));
}

function logEntries(bytes: Uint8Array): number[] {
  const entries: number[] = [];
  for (let at = LOG; at < 2 * MIB; at += 4_096) {
    if (bytes[at] === 0x6c && bytes[at + 1] === 0x6f && bytes[at + 2] === 0x67 && bytes[at + 3] === 0x65) {
      entries.push(at);
    }
  }
  return entries;
}
