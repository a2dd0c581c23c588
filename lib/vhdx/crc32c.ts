/**
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF): the checksum of
 * headers, region tables and log entries. Eight bytes a step by eight tables.
 */
const TABLES = makeTables();

function makeTables(): readonly Uint32Array[] {
  const tables = Array.from({ length: 8 }, () => new Uint32Array(256));
  const at = (table: number, index: number): number => tables[table]?.[index] ?? 0;
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
    tables[0]?.fill(crc >>> 0, byte, byte + 1);
  }
  for (let table = 1; table < 8; table++) {
    for (let byte = 0; byte < 256; byte++) {
      const previous = at(table - 1, byte);
      tables[table]?.fill((at(0, previous & 0xff) ^ (previous >>> 8)) >>> 0, byte, byte + 1);
    }
  }
  return tables;
}

const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES as unknown as readonly [
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
];

/** The CRC-32C of `bytes`, or of what came before and `bytes` when `crc` is the value for the part before. */
export function crc32c(bytes: Uint8Array, crc = 0): number {
  let value = ~crc;
  let at = 0;
  /* The indices below are bytes, so every table access is inside its 256 entries. */
  /* eslint-disable @typescript-eslint/no-non-null-assertion */
  for (const end = bytes.length - 7; at < end; at += 8) {
    const low =
      value ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    value =
      T7[low & 0xff]! ^
      T6[(low >>> 8) & 0xff]! ^
      T5[(low >>> 16) & 0xff]! ^
      T4[low >>> 24]! ^
      T3[bytes[at + 4]!]! ^
      T2[bytes[at + 5]!]! ^
      T1[bytes[at + 6]!]! ^
      T0[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at++) value = (value >>> 8) ^ T0[(value ^ bytes[at]!) & 0xff]!;
  /* eslint-enable @typescript-eslint/no-non-null-assertion */
  return ~value >>> 0;
}

const NO_CHECKSUM = new Uint8Array(4);

/** The checksum of a structure that keeps its own at bytes 4 to 7, which count as zero (§2.2.2, §2.2.3.1, §2.3.1.1). */
export function structureChecksum(bytes: Uint8Array): number {
  return crc32c(bytes.subarray(8), crc32c(NO_CHECKSUM, crc32c(bytes.subarray(0, 4))));
}
