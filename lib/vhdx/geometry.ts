import { SECTORS_PER_CHUNK, type SectorBytes } from "./layout.ts";

/** How block numbers, BAT indexes and bytes of one disk hang together ([MS-VHDX] §2.4 and §2.5). */
export interface Geometry {
  readonly diskBytes: number;
  readonly blockBytes: number;
  readonly sectorBytes: SectorBytes;
  readonly hasParent: boolean;
  /** Payload blocks that one sector bitmap block describes. */
  readonly chunkRatio: number;
  readonly payloadBlocks: number;
  /** Entries of the BAT, payload and bitmap. */
  readonly batEntries: number;
}

export function geometryOf(
  disk: Pick<Geometry, "diskBytes" | "blockBytes" | "sectorBytes" | "hasParent">,
): Geometry {
  const chunkRatio = (SECTORS_PER_CHUNK * disk.sectorBytes) / disk.blockBytes;
  const payloadBlocks = Math.ceil(disk.diskBytes / disk.blockBytes);
  const batEntries = disk.hasParent
    ? Math.ceil(payloadBlocks / chunkRatio) * (chunkRatio + 1)
    : payloadBlocks + Math.floor((payloadBlocks - 1) / chunkRatio);
  return { ...disk, chunkRatio, payloadBlocks, batEntries };
}

/** BAT index of a payload block: one bitmap entry follows every `chunkRatio` payload entries. */
export function batIndexOf(geometry: Geometry, block: number): number {
  return block + Math.floor(block / geometry.chunkRatio);
}

/** Payload block that a BAT index belongs to; of a bitmap entry the first block of the next chunk. */
export function blockOfIndex(geometry: Geometry, index: number): number {
  return index - Math.floor(index / (geometry.chunkRatio + 1));
}

/** BAT index of the bitmap entry of the chunk that a payload block is in. */
export function bitmapIndexOf(geometry: Geometry, block: number): number {
  return Math.floor(block / geometry.chunkRatio) * (geometry.chunkRatio + 1) + geometry.chunkRatio;
}

/** States of a BAT entry, bits 0 to 2 (§2.5.1.1, §2.5.1.2). 4 and 5 are reserved. */
export const STATE = {
  notPresent: 0,
  undefined: 1,
  zero: 2,
  unmapped: 3,
  fullyPresent: 6,
  partiallyPresent: 7,
} as const;

/** Lower and upper word of the entry of a block at a byte offset, which is a multiple of 1 MiB. */
export function encodeBatEntry(state: number, offsetBytes: number): readonly [number, number] {
  const upper = Math.floor(offsetBytes / 2 ** 32);
  return [((offsetBytes - upper * 2 ** 32) | state) >>> 0, upper];
}

/** Byte offset in a BAT entry; above 2^53 it is not exact, but above every bound too. */
export function offsetInEntry(lower: number, upper: number): number {
  return upper * 2 ** 32 + (lower & 0xfff0_0000 ? (lower & 0xfff0_0000) >>> 0 : 0);
}
