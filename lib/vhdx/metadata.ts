import type { ByteReader } from "./byte-file.ts";
import { ascii, putAscii, readU64, viewOf, writeU64 } from "./bytes.ts";
import type { Inspector } from "./defects.ts";
import { readGuid, writeGuid, type Guid } from "./guid.ts";
import {
  MAX_BLOCK_BYTES,
  MAX_DISK_BYTES,
  MAX_METADATA_ITEM_BYTES,
  MAX_TABLE_ENTRIES,
  MAX_USER_ITEMS,
  METADATA_TABLE_BYTES,
  MIN_BLOCK_BYTES,
  type SectorBytes,
} from "./layout.ts";
import { parseParentLocator, type ParentLocator } from "./parent-locator.ts";
import type { Region } from "./region-table.ts";
import type { DiskItem } from "./virtual-disk.ts";

/** The items that [MS-VHDX] §2.6.2 knows; `lengthBytes` is missing where the content has no fixed length. */
export const KNOWN_ITEMS = {
  fileParameters: { id: "caa16737-fa36-4d43-b3b6-33f0aa44e76b", lengthBytes: 8, isVirtualDisk: false },
  diskSize: { id: "2fa54224-cd1b-4876-b211-5dbed83bf4b8", lengthBytes: 8, isVirtualDisk: true },
  diskId: { id: "beca12ab-b2e6-4523-93ef-c309e000c746", lengthBytes: 16, isVirtualDisk: true },
  logicalSector: { id: "8141bf1d-a96f-4709-ba47-f233a8faab5f", lengthBytes: 4, isVirtualDisk: true },
  physicalSector: { id: "cda348c7-445d-4471-9cc9-e9885251c556", lengthBytes: 4, isVirtualDisk: true },
  parentLocator: {
    id: "a8d35f2d-b30b-454d-abf7-d3d84834ab0c",
    lengthBytes: undefined,
    isVirtualDisk: false,
  },
} as const;

/** Set by Microsoft's own implementation while a file is being made; not in the specification. */
const INCOMPLETE_FILE_ITEM: Guid = "71cc85f0-1b69-4e28-9558-c3bf83ae75d3";

/** One entry of the metadata table (§2.6.1.2). */
export interface MetadataItem {
  readonly id: Guid;
  /** From the start of the region; zero for an empty item. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly isUser: boolean;
  /** Belongs to the virtual disk: copied when a child is made, taken from the child when it is merged. */
  readonly isVirtualDisk: boolean;
  readonly isRequired: boolean;
}

export interface Metadata {
  readonly items: readonly MetadataItem[];
  readonly blockBytes: number;
  /** The disk is fixed: blocks stay allocated. Meaningless with a parent. */
  readonly leavesBlocksAllocated: boolean;
  readonly hasParent: boolean;
  readonly diskBytes: number;
  readonly diskId: Guid;
  readonly logicalSectorBytes: SectorBytes;
  readonly physicalSectorBytes: SectorBytes;
  readonly parentLocator?: ParentLocator;
}

/** Reads the metadata table and every known item. */
export async function readMetadata(
  file: ByteReader,
  region: Region,
  inspector: Inspector,
): Promise<Metadata> {
  const items = await readTable(file, region, inspector);
  const system = new Map(items.filter((each) => !each.isUser).map((each) => [each.id, each]));
  const itemBytes = async (item: MetadataItem): Promise<Uint8Array> => {
    const bytes = new Uint8Array(item.lengthBytes);
    if (bytes.length > 0) await file.read(region.offsetBytes + item.offsetBytes, bytes);
    return bytes;
  };
  const fixed = async (name: Exclude<keyof typeof KNOWN_ITEMS, "parentLocator">): Promise<Uint8Array> => {
    const { id, lengthBytes, isVirtualDisk } = KNOWN_ITEMS[name];
    const item = system.get(id);
    if (item === undefined)
      return inspector.stop("VHDX_METADATA_MISSING", `the metadata item ${name} is missing`);
    if (item.lengthBytes !== lengthBytes) {
      inspector.stop(
        "VHDX_METADATA_LENGTH_INVALID",
        `the metadata item ${name} has ${item.lengthBytes} bytes in place of ${lengthBytes}`,
      );
    }
    if (item.isVirtualDisk !== isVirtualDisk || !item.isRequired) {
      inspector.note("VHDX_METADATA_FLAGS_INVALID", `the metadata item ${name} has unusual flags`);
    }
    return itemBytes(item);
  };
  const values = await readValues(fixed, inspector);
  const locator = system.get(KNOWN_ITEMS.parentLocator.id);
  if (!values.hasParent) {
    if (locator !== undefined) {
      inspector.note(
        "VHDX_LOCATOR_WITHOUT_PARENT",
        "the disk has no parent, but a parent locator; it is ignored",
      );
    }
    return { items, ...values };
  }
  if (locator === undefined) {
    return inspector.stop("VHDX_LOCATOR_MISSING", "the disk has a parent, but no parent locator");
  }
  return { items, ...values, parentLocator: parseParentLocator(await itemBytes(locator), inspector) };
}

async function readTable(file: ByteReader, region: Region, inspector: Inspector): Promise<MetadataItem[]> {
  const table = new Uint8Array(METADATA_TABLE_BYTES);
  await file.read(region.offsetBytes, table);
  if (ascii(table, 0, 8) !== "metadata") {
    inspector.stop("VHDX_METADATA_TABLE_INVALID", "the metadata table does not begin with its signature");
  }
  const view = viewOf(table);
  const count = view.getUint16(10, true);
  if (count > MAX_TABLE_ENTRIES) {
    inspector.stop(
      "VHDX_METADATA_COUNT_INVALID",
      `the metadata table says it has ${count} entries; at most ${MAX_TABLE_ENTRIES} fit`,
    );
  }
  if (view.getUint16(8, true) !== 0 || table.subarray(12, 32).some((byte) => byte !== 0)) {
    inspector.refuse(
      "VHDX_METADATA_RESERVED_NONZERO",
      "reserved bytes of the metadata table's header are not zero",
    );
  }
  const items: MetadataItem[] = [];
  for (let index = 0; index < count; index++) {
    const at = 32 + 32 * index;
    const flags = view.getUint32(at + 24, true);
    const item: MetadataItem = {
      id: readGuid(table, at),
      offsetBytes: view.getUint32(at + 16, true),
      lengthBytes: view.getUint32(at + 20, true),
      isUser: (flags & 1) !== 0,
      isVirtualDisk: (flags & 2) !== 0,
      isRequired: (flags & 4) !== 0,
    };
    if (flags >>> 3 !== 0 || view.getUint32(at + 28, true) !== 0) {
      inspector.refuse(
        "VHDX_METADATA_RESERVED_NONZERO",
        `reserved bits of metadata item ${item.id} are not zero`,
      );
    }
    items.push(item);
  }
  checkItems(items, region, inspector);
  return items;
}

function checkItems(items: readonly MetadataItem[], region: Region, inspector: Inspector): void {
  const knownIds = new Set<Guid>(Object.values(KNOWN_ITEMS).map((each) => each.id));
  const seen = new Set<string>();
  for (const item of items) {
    const key = `${item.id} ${item.isUser}`;
    if (seen.has(key)) {
      inspector.refuse("VHDX_METADATA_DUPLICATE", `metadata item ${item.id} is in the table twice`);
    }
    seen.add(key);
    if (item.id === INCOMPLETE_FILE_ITEM && !item.isUser) {
      inspector.refuse("VHDX_FILE_INCOMPLETE", "the file is marked as not completely written");
    } else if (item.isRequired && (item.isUser || !knownIds.has(item.id))) {
      inspector.refuse("VHDX_METADATA_UNKNOWN_REQUIRED", `metadata item ${item.id} is required, but unknown`);
    }
    checkPlace(item, region, inspector);
  }
  if (items.filter((item) => item.isUser).length > MAX_USER_ITEMS) {
    inspector.refuse(
      "VHDX_METADATA_TOO_MANY_USER_ITEMS",
      `more than ${MAX_USER_ITEMS} user items in the metadata`,
    );
  }
  const placed = items.filter((item) => item.lengthBytes > 0).sort((a, b) => a.offsetBytes - b.offsetBytes);
  placed.forEach((item, index) => {
    const next = placed[index + 1];
    if (next !== undefined && item.offsetBytes + item.lengthBytes > next.offsetBytes) {
      inspector.refuse("VHDX_METADATA_OVERLAP", `metadata items ${item.id} and ${next.id} overlap`);
    }
  });
}

function checkPlace(item: MetadataItem, region: Region, inspector: Inspector): void {
  const { id, offsetBytes: offset, lengthBytes: length } = item;
  if (length > MAX_METADATA_ITEM_BYTES) {
    inspector.stop(
      "VHDX_METADATA_TOO_LONG",
      `metadata item ${id} has ${length} bytes; at most 1 MiB is allowed`,
    );
  }
  const isEmpty = length === 0 && offset === 0;
  if (isEmpty) return;
  if (length === 0 || offset < METADATA_TABLE_BYTES || offset + length > region.lengthBytes) {
    inspector.stop(
      "VHDX_METADATA_PLACE_INVALID",
      `metadata item ${id} (${length} bytes at ${offset}) does not lie between the table and the region's end at ${region.lengthBytes}`,
    );
  }
}

type DiskValues = Omit<Metadata, "items" | "parentLocator">;

async function readValues(
  fixed: (name: Exclude<keyof typeof KNOWN_ITEMS, "parentLocator">) => Promise<Uint8Array>,
  inspector: Inspector,
): Promise<DiskValues> {
  const parameters = viewOf(await fixed("fileParameters"));
  const blockBytes = parameters.getUint32(0, true);
  const flags = parameters.getUint32(4, true);
  if (blockBytes < MIN_BLOCK_BYTES || blockBytes > MAX_BLOCK_BYTES || (blockBytes & (blockBytes - 1)) !== 0) {
    inspector.stop(
      "VHDX_BLOCK_SIZE_INVALID",
      `the block size is ${blockBytes} bytes; it must be a power of 2 from 1 MiB to 256 MiB`,
    );
  }
  if (flags >>> 2 !== 0) {
    inspector.refuse(
      "VHDX_FILE_PARAMETERS_RESERVED_NONZERO",
      "reserved bits of the file parameters are not zero",
    );
  }
  const logicalSectorBytes =
    sectorBytes(await fixed("logicalSector")) ??
    inspector.stop("VHDX_LOGICAL_SECTOR_INVALID", "the logical sector size is neither 512 nor 4096 bytes");
  const physicalSectorBytes =
    sectorBytes(await fixed("physicalSector")) ??
    inspector.stop("VHDX_PHYSICAL_SECTOR_INVALID", "the physical sector size is neither 512 nor 4096 bytes");
  const diskBytes = readU64(viewOf(await fixed("diskSize")), 0);
  if (diskBytes === 0) inspector.stop("VHDX_DISK_SIZE_ZERO", "the virtual disk has no bytes");
  if (diskBytes > MAX_DISK_BYTES) {
    inspector.stop(
      "VHDX_DISK_SIZE_TOO_LARGE",
      `the virtual disk has ${diskBytes} bytes; at most 64 TiB are allowed`,
    );
  }
  if (diskBytes % logicalSectorBytes !== 0) {
    inspector.stop(
      "VHDX_DISK_SIZE_UNALIGNED",
      `the virtual disk has ${diskBytes} bytes, which is no multiple of its sectors of ${logicalSectorBytes}`,
    );
  }
  return {
    blockBytes,
    leavesBlocksAllocated: (flags & 1) !== 0,
    hasParent: (flags & 2) !== 0,
    diskBytes,
    diskId: readGuid(await fixed("diskId")),
    logicalSectorBytes,
    physicalSectorBytes,
  };
}

function sectorBytes(item: Uint8Array): SectorBytes | undefined {
  const value = viewOf(item).getUint32(0, true);
  return value === 512 || value === 4096 ? value : undefined;
}

/** What a new file's metadata says. */
export interface NewMetadata extends DiskValues {
  /** Encoded locator item of a differencing disk. */
  readonly parentLocator?: Uint8Array;
  /** Further items of the parent that belong to the virtual disk, with their content. */
  readonly copied: readonly DiskItem[];
}

/** Table and items from the region's start, in the order and at the offsets that Windows uses. */
export function encodeMetadata(metadata: NewMetadata): Uint8Array {
  const u32 = (...values: readonly number[]): Uint8Array => {
    const bytes = new Uint8Array(4 * values.length);
    values.forEach((value, index) => {
      viewOf(bytes).setUint32(4 * index, value, true);
    });
    return bytes;
  };
  const size = new Uint8Array(8);
  writeU64(viewOf(size), 0, metadata.diskBytes);
  const id = new Uint8Array(16);
  writeGuid(metadata.diskId, id);
  const flags = (metadata.leavesBlocksAllocated ? 1 : 0) | (metadata.hasParent ? 2 : 0);
  const contents: ItemContent[] = [
    { id: KNOWN_ITEMS.fileParameters.id, flags: 4, bytes: u32(metadata.blockBytes, flags) },
    { id: KNOWN_ITEMS.diskSize.id, flags: 6, bytes: size },
    { id: KNOWN_ITEMS.logicalSector.id, flags: 6, bytes: u32(metadata.logicalSectorBytes) },
    { id: KNOWN_ITEMS.physicalSector.id, flags: 6, bytes: u32(metadata.physicalSectorBytes) },
    { id: KNOWN_ITEMS.diskId.id, flags: 6, bytes: id },
  ];
  if (metadata.parentLocator !== undefined) {
    contents.push({ id: KNOWN_ITEMS.parentLocator.id, flags: 4, bytes: metadata.parentLocator });
  }
  for (const { id, isUser, isRequired, bytes } of metadata.copied) {
    contents.push({ id, flags: (isUser ? 1 : 0) | 2 | (isRequired ? 4 : 0), bytes });
  }
  return encodeItems(contents);
}

/** One item as it goes into a metadata region: bits 0 to 2 of the flags are IsUser, IsVirtualDisk and IsRequired. */
export interface ItemContent {
  readonly id: Guid;
  readonly flags: number;
  readonly bytes: Uint8Array;
}

/** Table and items from the region's start, one item behind another. */
export function encodeItems(contents: readonly ItemContent[]): Uint8Array {
  const total = contents.reduce((sum, each) => sum + each.bytes.length, METADATA_TABLE_BYTES);
  const region = new Uint8Array(total);
  const view = viewOf(region);
  putAscii("metadata", region, 0);
  view.setUint16(10, contents.length, true);
  let offset = METADATA_TABLE_BYTES;
  contents.forEach((each, index) => {
    const at = 32 + 32 * index;
    writeGuid(each.id, region, at);
    view.setUint32(at + 16, each.bytes.length === 0 ? 0 : offset, true);
    view.setUint32(at + 20, each.bytes.length, true);
    view.setUint32(at + 24, each.flags, true);
    region.set(each.bytes, offset);
    offset += each.bytes.length;
  });
  return region;
}
