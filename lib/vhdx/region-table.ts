import type { ByteReader } from "./byte-file.ts";
import { ascii, putAscii, readU64, viewOf, writeU64 } from "./bytes.ts";
import { structureChecksum } from "./crc32c.ts";
import type { Inspector } from "./defects.ts";
import { readGuid, writeGuid, type Guid } from "./guid.ts";
import {
  HEADER_AREA_BYTES,
  MAX_TABLE_ENTRIES,
  MIB,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
} from "./layout.ts";

export const BAT_REGION: Guid = "2dc27766-f623-4200-9d64-115e9bfd4a08";
export const METADATA_REGION: Guid = "8b7ca206-4790-4b9a-b8fe-575f050f886e";

/** One region of the file ([MS-VHDX] §2.2.3.2). */
export interface Region {
  readonly id: Guid;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly isRequired: boolean;
}

export interface RegionTable {
  readonly regions: readonly Region[];
  readonly bat: Region;
  readonly metadata: Region;
  /** 64 KiB as in the file, for a writer that changes one entry. */
  readonly bytes: Uint8Array;
}

/**
 * Reads the region table: the first copy, or the second when the first fails its checksum. `reserved` are places
 * that no region may touch (the log).
 */
export async function readRegionTable(
  file: ByteReader,
  reserved: readonly { readonly offsetBytes: number; readonly lengthBytes: number }[],
  inspector: Inspector,
): Promise<RegionTable> {
  const bytes = await readGoodCopy(file, inspector);
  const view = viewOf(bytes);
  const count = view.getUint32(8, true);
  if (count > MAX_TABLE_ENTRIES) {
    inspector.stop(
      "VHDX_REGION_COUNT_INVALID",
      `the region table says it has ${count} entries; at most ${MAX_TABLE_ENTRIES} fit`,
    );
  }
  const regions = Array.from({ length: count }, (_, index) => readRegion(view, bytes, 16 + 32 * index));
  for (const region of regions) checkRegion(region, file.sizeBytes, inspector);
  const byId = new Map<Guid, Region>();
  for (const region of regions) {
    if (byId.has(region.id)) {
      inspector.refuse("VHDX_REGION_DUPLICATE", `region ${region.id} is in the table twice`);
    }
    byId.set(region.id, region);
  }
  refuseOverlaps(regions, reserved, inspector);
  return {
    regions,
    bat: known(byId, BAT_REGION, "BAT", inspector),
    metadata: known(byId, METADATA_REGION, "metadata", inspector),
    bytes,
  };
}

async function readGoodCopy(file: ByteReader, inspector: Inspector): Promise<Uint8Array> {
  const copies = await Promise.all(
    REGION_TABLE_OFFSETS.map(async (offset) => {
      const bytes = new Uint8Array(REGION_TABLE_BYTES);
      await file.read(offset, bytes);
      const isGood =
        ascii(bytes, 0, 4) === "regi" && viewOf(bytes).getUint32(4, true) === structureChecksum(bytes);
      return isGood ? bytes : undefined;
    }),
  );
  copies.forEach((copy, index) => {
    if (copy === undefined && copies.some((other) => other !== undefined)) {
      inspector.note(
        "VHDX_REGION_TABLE_COPY_INVALID",
        `region table ${index + 1} has no good signature and checksum; the other is used`,
      );
    }
  });
  return (
    copies.find((copy) => copy !== undefined) ??
    inspector.stop("VHDX_REGION_TABLES_INVALID", "neither region table has a good signature and checksum")
  );
}

function readRegion(view: DataView, bytes: Uint8Array, at: number): Region {
  return {
    id: readGuid(bytes, at),
    offsetBytes: readU64(view, at + 16),
    lengthBytes: view.getUint32(at + 24, true),
    isRequired: (view.getUint32(at + 28, true) & 1) === 1,
  };
}

function checkRegion(region: Region, fileBytes: number, inspector: Inspector): void {
  const { id, offsetBytes: offset, lengthBytes: length } = region;
  const isKnown = id === BAT_REGION || id === METADATA_REGION;
  if (!isKnown && region.isRequired) {
    inspector.refuse("VHDX_REGION_UNKNOWN_REQUIRED", `region ${id} is required, but unknown`);
  }
  if (isKnown && !region.isRequired) {
    inspector.note("VHDX_REGION_NOT_REQUIRED", `region ${id} is not marked as required`);
  }
  if (offset % MIB !== 0 || length % MIB !== 0 || offset < HEADER_AREA_BYTES || length === 0) {
    const message = `region ${id} is said to be ${length} bytes at offset ${offset}; both must be multiples of 1 MiB, behind the headers`;
    if (isKnown) inspector.stop("VHDX_REGION_PLACE_INVALID", message);
    else inspector.refuse("VHDX_REGION_PLACE_INVALID", message);
  } else if (offset + length > fileBytes) {
    const message = `region ${id} (${length} bytes at offset ${offset}) passes the end of the file (${fileBytes} bytes)`;
    if (isKnown) inspector.stop("VHDX_REGION_BEYOND_FILE", message);
    else inspector.refuse("VHDX_REGION_BEYOND_FILE", message);
  }
}

function refuseOverlaps(
  regions: readonly Region[],
  reserved: readonly { readonly offsetBytes: number; readonly lengthBytes: number }[],
  inspector: Inspector,
): void {
  const places = [...regions.map((each) => ({ ...each, name: `region ${each.id}` }))];
  const all = [...places, ...reserved.map((each) => ({ ...each, name: "the log" }))].sort(
    (a, b) => a.offsetBytes - b.offsetBytes,
  );
  let furthest = all[0];
  for (const place of all.slice(1)) {
    if (furthest !== undefined && furthest.offsetBytes + furthest.lengthBytes > place.offsetBytes) {
      inspector.refuse("VHDX_REGIONS_OVERLAP", `${furthest.name} and ${place.name} overlap in the file`);
    }
    if (
      furthest === undefined ||
      place.offsetBytes + place.lengthBytes > furthest.offsetBytes + furthest.lengthBytes
    ) {
      furthest = place;
    }
  }
}

function known(byId: ReadonlyMap<Guid, Region>, id: Guid, name: string, inspector: Inspector): Region {
  return (
    byId.get(id) ?? inspector.stop("VHDX_REGION_MISSING", `the region table has no ${name} region (${id})`)
  );
}

/** A region table of 64 KiB, with its checksum; both copies are equal. */
export function encodeRegionTable(regions: readonly Region[]): Uint8Array {
  const bytes = new Uint8Array(REGION_TABLE_BYTES);
  const view = viewOf(bytes);
  putAscii("regi", bytes, 0);
  view.setUint32(8, regions.length, true);
  regions.forEach((region, index) => {
    const at = 16 + 32 * index;
    writeGuid(region.id, bytes, at);
    writeU64(view, at + 16, region.offsetBytes);
    view.setUint32(at + 24, region.lengthBytes, true);
    view.setUint32(at + 28, region.isRequired ? 1 : 0, true);
  });
  view.setUint32(4, structureChecksum(bytes), true);
  return bytes;
}
