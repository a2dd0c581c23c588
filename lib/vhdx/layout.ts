/** Sizes and places that [MS-VHDX] fixes, and the ceilings that this reader puts on what it leaves open. */
export const KIB = 1_024;
export const MIB = 1_048_576;
export const TIB = 2 ** 40;

export const HEADER_OFFSETS = [64 * KIB, 128 * KIB] as const;
export const HEADER_BYTES = 4 * KIB;
export const REGION_TABLE_OFFSETS = [192 * KIB, 256 * KIB] as const;
export const REGION_TABLE_BYTES = 64 * KIB;
/** Everything before is identifier, headers and region tables; log, regions and blocks come after (§2.2). */
export const HEADER_AREA_BYTES = MIB;
/** Region tables are the first thing that the log may change; headers are not (§2.3). */
export const FIRST_LOGGABLE_BYTE = REGION_TABLE_OFFSETS[0];

export const MAX_TABLE_ENTRIES = 2_047;
export const METADATA_TABLE_BYTES = 64 * KIB;
export const MAX_METADATA_ITEM_BYTES = MIB;
export const MAX_USER_ITEMS = 1_024;

export const MIN_BLOCK_BYTES = MIB;
export const MAX_BLOCK_BYTES = 256 * MIB;
export const MAX_DISK_BYTES = 64 * TIB;
/** A sector bitmap block is 1 MiB and so describes 2^23 sectors (§2.4). */
export const BITMAP_BLOCK_BYTES = MIB;
export const SECTORS_PER_CHUNK = 2 ** 23;

export const LOG_SECTOR_BYTES = 4 * KIB;

/**
 * No file of 64 TiB of blocks comes near 256 TiB, so an offset behind it is not an offset. Below it every byte
 * offset is an exact `number`.
 */
export const MAX_FILE_BYTES = 256 * TIB;
/** Longest parent chain that is followed. */
export const MAX_CHAIN_FILES = 256;

export type SectorBytes = 512 | 4096;
