import { describe, expect, test } from "vitest";
import { KNOWN_ITEMS } from "../../lib/vhdx/metadata.ts";
import { encodeParentLocator } from "../../lib/vhdx/parent-locator.ts";
import { checkVhdx, memoryFile, openVhdx } from "../../lib/vhdx/index.ts";
import { writeGuid } from "../../lib/vhdx/guid.ts";
import { contentOf, firstDifference, MIB } from "./disk-lab.ts";
import { AT, Forgery, forgedEntry } from "./forge.ts";

const FOREIGN = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const BLOCK = (mib: number, state: number): bigint => (BigInt(mib) << 20n) | BigInt(state);
/** In the table: 0 file parameters, 1 size, 2 logical, 3 physical, 4 id, 5 locator; in the region from 65536 on. */
const entryAt = (index: number): number => 32 + 32 * index;
const ITEM = { parameters: 65_536, size: 65_544, logical: 65_552, physical: 65_556, locator: 65_576 };

type Bend = (file: Forgery) => unknown;

const DYNAMIC: readonly (readonly [code: string, rule: string, bend: Bend])[] = [
  ["VHDX_NOT_VHDX", "the signature is another", (f) => (f.bytes[0] = 0x63)],
  [
    "VHDX_HEADERS_INVALID",
    "both headers fail their checksum",
    (f) => AT.headers.forEach((at) => (f.bytes[at + 100] = 1)),
  ],
  ["VHDX_VERSION_UNSUPPORTED", "the version is 2", (f) => f.headers((h) => h.setUint16(66, 2, true))],
  [
    "VHDX_LOG_VERSION_UNSUPPORTED",
    "a dirty log has version 1",
    (f) => f.dirty().headers((h) => h.setUint16(64, 1, true)),
  ],
  [
    "VHDX_LOG_PLACE_INVALID",
    "the log is not at a MiB",
    (f) => f.headers((h) => h.setBigUint64(72, 1_052_672n, true)),
  ],
  [
    "VHDX_LOG_PLACE_INVALID",
    "the log is over the headers",
    (f) => f.headers((h) => h.setBigUint64(72, 0n, true)),
  ],
  [
    "VHDX_LOG_PLACE_INVALID",
    "the log's length is no MiB",
    (f) => f.headers((h) => h.setUint32(68, 4_096, true)),
  ],
  [
    "VHDX_LOG_PLACE_INVALID",
    "a dirty log has no length",
    (f) => f.dirty().headers((h) => h.setUint32(68, 0, true)),
  ],
  [
    "VHDX_LOG_BEYOND_FILE",
    "the log passes the file's end",
    (f) => f.headers((h) => h.setUint32(68, 64 * MIB, true)),
  ],
  [
    "VHDX_LOG_BEYOND_FILE",
    "the log is at 2^62",
    (f) => f.headers((h) => h.setBigUint64(72, 2n ** 62n, true)),
  ],
  [
    "VHDX_REGION_TABLES_INVALID",
    "both region tables fail their checksum",
    (f) => AT.regionTables.forEach((at) => (f.bytes[at + 200] = 1)),
  ],
  [
    "VHDX_REGION_COUNT_INVALID",
    "the region table has 2048 entries",
    (f) => f.regions((r) => r.setUint32(8, 2_048, true)),
  ],
  [
    "VHDX_REGION_MISSING",
    "there is no BAT region",
    (f) =>
      f.regions((r, table) => {
        writeGuid(FOREIGN, table, 16);
        r.setUint32(44, 0, true);
      }),
  ],
  ["VHDX_REGION_MISSING", "there is no metadata region", (f) => f.regions((r) => r.setUint32(8, 1, true))],
  [
    "VHDX_REGION_DUPLICATE",
    "a region is there twice",
    (f) => f.addRegion(FOREIGN, 4 * MIB, MIB, false).addRegion(FOREIGN, 5 * MIB, MIB, false),
  ],
  [
    "VHDX_REGION_UNKNOWN_REQUIRED",
    "an unknown region is required",
    (f) => f.addRegion(FOREIGN, 4 * MIB, MIB, true),
  ],
  [
    "VHDX_REGION_PLACE_INVALID",
    "a region is in the headers",
    (f) => f.regions((r) => r.setBigUint64(32, 0n, true)),
  ],
  [
    "VHDX_REGION_PLACE_INVALID",
    "a region is not at a MiB",
    (f) => f.regions((r) => r.setBigUint64(32, 4_096n + 3n * 1_048_576n, true)),
  ],
  [
    "VHDX_REGION_PLACE_INVALID",
    "a region's length is zero",
    (f) => f.regions((r) => r.setUint32(40, 0, true)),
  ],
  [
    "VHDX_REGION_BEYOND_FILE",
    "a region passes the file's end",
    (f) => f.regions((r) => r.setUint32(40, 64 * MIB, true)),
  ],
  [
    "VHDX_REGION_BEYOND_FILE",
    "a region is at 2^63",
    (f) => f.regions((r) => r.setBigUint64(32, 2n ** 63n, true)),
  ],
  ["VHDX_REGIONS_OVERLAP", "two regions overlap", (f) => f.addRegion(FOREIGN, 2 * MIB, MIB, false)],
  ["VHDX_REGIONS_OVERLAP", "a region lies over the log", (f) => f.addRegion(FOREIGN, MIB, MIB, false)],
  [
    "VHDX_METADATA_TABLE_INVALID",
    "the metadata table has no signature",
    (f) => f.metadata((_, region) => region.fill(0, 0, 8)),
  ],
  [
    "VHDX_METADATA_COUNT_INVALID",
    "the metadata table has 2048 entries",
    (f) => f.metadata((m) => m.setUint16(10, 2_048, true)),
  ],
  [
    "VHDX_METADATA_RESERVED_NONZERO",
    "the table's header has reserved bytes set",
    (f) => f.metadata((m) => m.setUint8(8, 1)),
  ],
  [
    "VHDX_METADATA_RESERVED_NONZERO",
    "an entry has reserved flags set",
    (f) => f.metadata((m) => m.setUint32(entryAt(1) + 24, 14, true)),
  ],
  [
    "VHDX_METADATA_RESERVED_NONZERO",
    "an entry has reserved bytes set",
    (f) => f.metadata((m) => m.setUint32(entryAt(1) + 28, 1, true)),
  ],
  [
    "VHDX_METADATA_DUPLICATE",
    "an item is there twice",
    (f) => f.addItem(FOREIGN, 70_000, 8, 0).addItem(FOREIGN, 71_000, 8, 0),
  ],
  [
    "VHDX_METADATA_PLACE_INVALID",
    "an item lies in the table",
    (f) => f.metadata((m) => m.setUint32(entryAt(1) + 16, 65_535, true)),
  ],
  [
    "VHDX_METADATA_PLACE_INVALID",
    "an item passes the region's end",
    (f) => f.metadata((m) => m.setUint32(entryAt(1) + 16, MIB - 4, true)),
  ],
  ["VHDX_METADATA_PLACE_INVALID", "an empty item has an offset", (f) => f.addItem(FOREIGN, 70_000, 0, 0)],
  ["VHDX_METADATA_TOO_LONG", "an item is longer than 1 MiB", (f) => f.addItem(FOREIGN, 70_000, MIB + 1, 0)],
  ["VHDX_METADATA_OVERLAP", "two items overlap", (f) => f.addItem(FOREIGN, ITEM.size + 4, 8, 0)],
  ["VHDX_METADATA_TOO_MANY_USER_ITEMS", "1025 user items", (f) => manyUserItems(f)],
  ["VHDX_METADATA_UNKNOWN_REQUIRED", "an unknown item is required", (f) => f.addItem(FOREIGN, 70_000, 8, 4)],
  [
    "VHDX_METADATA_UNKNOWN_REQUIRED",
    "a user item is required",
    (f) => f.addItem(KNOWN_ITEMS.diskId.id, 70_000, 8, 5),
  ],
  [
    "VHDX_FILE_INCOMPLETE",
    "the file is marked as incomplete",
    (f) => f.addItem("71cc85f0-1b69-4e28-9558-c3bf83ae75d3", 0, 0, 4),
  ],
  [
    "VHDX_METADATA_MISSING",
    "the size is missing",
    (f) =>
      f.metadata((m, region) => {
        writeGuid(FOREIGN, region, entryAt(1));
        m.setUint32(entryAt(1) + 24, 2, true);
      }),
  ],
  [
    "VHDX_METADATA_MISSING",
    "the size is there only as a user item",
    (f) => f.metadata((m) => m.setUint32(entryAt(1) + 24, 3, true)),
  ],
  [
    "VHDX_METADATA_LENGTH_INVALID",
    "the size has 4 bytes",
    (f) => f.metadata((m) => m.setUint32(entryAt(1) + 20, 4, true)),
  ],
  [
    "VHDX_BLOCK_SIZE_INVALID",
    "blocks of 512 MiB",
    (f) => f.metadata((m) => m.setUint32(ITEM.parameters, 512 * MIB, true)),
  ],
  [
    "VHDX_BLOCK_SIZE_INVALID",
    "blocks of 512 KiB",
    (f) => f.metadata((m) => m.setUint32(ITEM.parameters, MIB / 2, true)),
  ],
  [
    "VHDX_BLOCK_SIZE_INVALID",
    "blocks of 3 MiB",
    (f) => f.metadata((m) => m.setUint32(ITEM.parameters, 3 * MIB, true)),
  ],
  [
    "VHDX_FILE_PARAMETERS_RESERVED_NONZERO",
    "reserved bits of the file parameters",
    (f) => f.metadata((m) => m.setUint32(ITEM.parameters + 4, 4, true)),
  ],
  [
    "VHDX_DISK_SIZE_ZERO",
    "a disk of no bytes",
    (f) => f.metadata((m) => m.setBigUint64(ITEM.size, 0n, true)),
  ],
  [
    "VHDX_DISK_SIZE_UNALIGNED",
    "a disk of 8 MiB and 100 bytes",
    (f) => f.metadata((m) => m.setBigUint64(ITEM.size, 8n * 1_048_576n + 100n, true)),
  ],
  [
    "VHDX_DISK_SIZE_TOO_LARGE",
    "a disk of 64 TiB and a sector",
    (f) => f.metadata((m) => m.setBigUint64(ITEM.size, 2n ** 46n + 512n, true)),
  ],
  [
    "VHDX_DISK_SIZE_TOO_LARGE",
    "a disk of 2^63 bytes",
    (f) => f.metadata((m) => m.setBigUint64(ITEM.size, 2n ** 63n, true)),
  ],
  [
    "VHDX_LOGICAL_SECTOR_INVALID",
    "sectors of 520 bytes",
    (f) => f.metadata((m) => m.setUint32(ITEM.logical, 520, true)),
  ],
  [
    "VHDX_PHYSICAL_SECTOR_INVALID",
    "physical sectors of 8192 bytes",
    (f) => f.metadata((m) => m.setUint32(ITEM.physical, 8_192, true)),
  ],
  [
    "VHDX_LOCATOR_MISSING",
    "a parent, but no locator",
    (f) => f.metadata((m) => m.setUint32(ITEM.parameters + 4, 2, true)),
  ],
  [
    "VHDX_BAT_TOO_SMALL",
    "a BAT that is too small for the disk",
    (f) => f.metadata((m) => m.setBigUint64(ITEM.size, 2n ** 40n, true)),
  ],
  ["VHDX_BAT_STATE_RESERVED", "a block in state 4", (f) => f.bat(1, 4n)],
  ["VHDX_BAT_STATE_RESERVED", "a block in state 5", (f) => f.bat(1, BLOCK(7, 5))],
  ["VHDX_BAT_PARTIAL_WITHOUT_PARENT", "a partial block without parent", (f) => f.bat(0, BLOCK(4, 7))],
  ["VHDX_BAT_RESERVED_NONZERO", "reserved bits of a present block", (f) => f.bat(0, BLOCK(4, 6) | 8n)],
  ["VHDX_BAT_RESERVED_NONZERO", "reserved bits of an absent block", (f) => f.bat(1, 0x80000n)],
  ["VHDX_BAT_OFFSET_INVALID", "a present block at offset 0", (f) => f.bat(0, 6n)],
  ["VHDX_BAT_OFFSET_INVALID", "a present block at 2^63", (f) => f.bat(0, (2n ** 63n) | 6n)],
  ["VHDX_BLOCK_BEYOND_FILE", "a block behind the file's end", (f) => f.bat(1, BLOCK(6, 6))],
  ["VHDX_BLOCK_BEYOND_FILE", "a file that was cut by 512 bytes", (f) => f.bytes.length],
  ["VHDX_BLOCKS_OVERLAP", "two entries for one block", (f) => f.bat(1, BLOCK(4, 6))],
  ["VHDX_BLOCK_OVERLAPS_STRUCTURE", "a block over the metadata", (f) => f.bat(1, BLOCK(2, 6))],
  ["VHDX_BLOCK_OVERLAPS_STRUCTURE", "a block over the log", (f) => f.bat(1, BLOCK(1, 6))],
  ["VHDX_BLOCK_OVERLAPS_STRUCTURE", "a block over the BAT", (f) => f.bat(1, BLOCK(3, 6))],
];

const DIFFERENCING: readonly (readonly [code: string, rule: string, bend: Bend])[] = [
  ["VHDX_BITMAP_MISSING", "a partial block, but no bitmap", (f) => f.bat(4_096, 0n)],
  ["VHDX_BITMAP_STATE_RESERVED", "a bitmap in state 3", (f) => f.bat(4_096, BLOCK(5, 3))],
  ["VHDX_BAT_RESERVED_NONZERO", "reserved bits of a bitmap entry", (f) => f.bat(4_096, BLOCK(5, 6) | 0x100n)],
  ["VHDX_BLOCKS_OVERLAP", "a bitmap over a block", (f) => f.bat(4_096, BLOCK(4, 6))],
  ["VHDX_BLOCK_BEYOND_FILE", "a bitmap behind the file's end", (f) => f.bat(4_096, BLOCK(6, 6))],
  [
    "VHDX_LOCATOR_TYPE_UNKNOWN",
    "the parent is no VHDX file",
    (f) => f.metadata((_, region) => writeGuid(FOREIGN, region, ITEM.locator)),
  ],
  [
    "VHDX_LOCATOR_RESERVED_NONZERO",
    "reserved bytes of the locator",
    (f) => f.metadata((m) => m.setUint16(ITEM.locator + 16, 1, true)),
  ],
  [
    "VHDX_LOCATOR_COUNT_INVALID",
    "no pairs",
    (f) => f.metadata((m) => m.setUint16(ITEM.locator + 18, 0, true)),
  ],
  [
    "VHDX_LOCATOR_COUNT_INVALID",
    "65535 pairs",
    (f) => f.metadata((m) => m.setUint16(ITEM.locator + 18, 65_535, true)),
  ],
  [
    "VHDX_LOCATOR_ENTRY_INVALID",
    "a key outside of the item",
    (f) => f.metadata((m) => m.setUint32(ITEM.locator + 20, 60_000, true)),
  ],
  [
    "VHDX_LOCATOR_ENTRY_INVALID",
    "a value at offset 0",
    (f) => f.metadata((m) => m.setUint32(ITEM.locator + 24, 0, true)),
  ],
  [
    "VHDX_LOCATOR_ENTRY_INVALID",
    "a key of odd length",
    (f) => f.metadata((m) => m.setUint16(ITEM.locator + 28, 27, true)),
  ],
  [
    "VHDX_LOCATOR_ENTRY_INVALID",
    "an empty value",
    (f) => f.metadata((m) => m.setUint16(ITEM.locator + 30, 0, true)),
  ],
  [
    "VHDX_LOCATOR_ENTRY_INVALID",
    "a NUL in a text",
    (f) =>
      locator(f, [
        ["parent_linkage", `{${FOREIGN}}`],
        ["relative_path", "a\0b"],
      ]),
  ],
  [
    "VHDX_LOCATOR_ENTRY_INVALID",
    "an item of 19 bytes",
    (f) => f.metadata((m) => m.setUint32(entryAt(5) + 20, 19, true)),
  ],
  ["VHDX_LOCATOR_LINKAGE_INVALID", "no linkage", (f) => locator(f, [["relative_path", "a"]])],
  [
    "VHDX_LOCATOR_LINKAGE_INVALID",
    "a linkage that is no GUID",
    (f) =>
      locator(f, [
        ["parent_linkage", "{1}"],
        ["relative_path", "a"],
      ]),
  ],
  ["VHDX_LOCATOR_PATH_MISSING", "no path", (f) => locator(f, [["parent_linkage", `{${FOREIGN}}`]])],
  [
    "VHDX_LOCATOR_KEY_DUPLICATE",
    "a key twice",
    (f) =>
      f.metadata((m) => {
        m.setUint32(ITEM.locator + 32, m.getUint32(ITEM.locator + 20, true), true);
        m.setUint16(ITEM.locator + 40, 28, true);
      }),
  ],
];

function locator(file: Forgery, pairs: readonly (readonly [string, string])[]): void {
  const item = encodeParentLocator(new Map(pairs));
  file.metadata((view, region) => {
    region.set(item, ITEM.locator);
    view.setUint32(entryAt(5) + 20, item.length, true);
  });
}

function manyUserItems(file: Forgery): void {
  for (let index = 0; index < 1_025; index++) {
    file.addItem(`aaaaaaaa-bbbb-cccc-dddd-${String(index).padStart(12, "0")}`, 0, 0, 1);
  }
}

async function outcome(bytes: Uint8Array): Promise<unknown> {
  const error: unknown = await openVhdx(memoryFile(bytes)).catch((each: unknown) => each);
  return error instanceof Error && "code" in error ? error.code : "opens";
}

describe("a disk without parent is refused", () => {
  test.each(DYNAMIC)("as %s: %s", async (code, rule, bend) => {
    const file = await Forgery.dynamic();
    bend(file);
    const bytes = rule.includes("cut by 512") ? file.bytes.subarray(0, file.bytes.length - 512) : file.bytes;
    expect(await outcome(bytes)).toBe(code);
    // `check` names the same defect, and every one of them has its section.
    const found = await checkVhdx(memoryFile(bytes));
    expect(found.filter((each) => each.severity === "refuse").map((each) => each.code)).toContain(code);
    expect(found.every((each) => /^2\./.test(each.section))).toBe(true);
  });
});

test("a disk without parent that has a sector bitmap is refused as VHDX_BITMAP_WITHOUT_PARENT", async () => {
  const file = await Forgery.dynamic();
  file.metadata((m) => {
    m.setBigUint64(ITEM.size, BigInt(5_000 * MIB), true);
  });
  expect(await outcome(file.bytes)).toBe("opens");
  expect(await outcome(file.bat(4_096, BLOCK(5, 6)).bytes)).toBe("VHDX_BITMAP_WITHOUT_PARENT");
});

describe("a differencing disk is refused", () => {
  test.each(DIFFERENCING)("as %s: %s", async (code, _rule, bend) => {
    const file = await Forgery.differencing();
    expect(await outcome(file.bytes)).toBe("opens");
    bend(file);
    expect(await outcome(file.bytes)).toBe(code);
    const found = await checkVhdx(file.file());
    expect(found.filter((each) => each.severity === "refuse").map((each) => each.code)).toContain(code);
  });
});

/** Departures from the letter that change no content (docs/format/vhdx-notes.md). */
const ACCEPTED: readonly (readonly [rule: string, bend: Bend])[] = [
  ["one header fails its checksum", (f) => (f.bytes[AT.headers[0] + 100] = 1)],
  ["the first region table fails its checksum", (f) => (f.bytes[AT.regionTables[0] + 200] = 1)],
  ["the second region table fails its checksum", (f) => (f.bytes[AT.regionTables[1] + 200] = 1)],
  [
    "known regions are not marked as required",
    (f) =>
      f.regions((r) => {
        r.setUint32(44, 0, true);
        r.setUint32(76, 0, true);
      }),
  ],
  ["an unknown optional region is there", (f) => f.addRegion(FOREIGN, 2 * MIB + 64 * MIB, MIB, false)],
  ["an unknown optional item is there", (f) => f.addItem(FOREIGN, 70_000, 8, 0)],
  ["an empty user item is there", (f) => f.addItem(FOREIGN, 0, 0, 1)],
  ["a clean log has an unknown version", (f) => f.headers((h) => h.setUint16(64, 7, true))],
  ["reserved bytes of a header are set", (f) => f.headers((h) => h.setUint8(90, 1))],
  [
    "an absent and a zero block have something in the offset",
    (f) => f.bat(1, BLOCK(4, 0)).bat(3, BLOCK(2 ** 40, 2)),
  ],
  [
    "an unmapped and an undefined block keep an offset",
    (f) => f.bat(1, BLOCK(4, 3)).bat(3, BLOCK(2 ** 40, 1)),
  ],
  [
    "a disk without parent has a parent locator",
    (f) => f.addItem(KNOWN_ITEMS.parentLocator.id, 70_000, 8, 4),
  ],
  [
    "the log region holds entries of an earlier session",
    (f) =>
      f.log(0, forgedEntry({ sequence: 1n, tail: 0, zeros: [{ offset: 3n * 1_048_576n, length: 4_096n }] })),
  ],
];

describe("a file opens with its content unchanged when", () => {
  test.each(ACCEPTED)("%s", async (rule, bend) => {
    const file = await Forgery.dynamic();
    const before = await contentOf(await openVhdx(file.file()));
    const roomy = new Forgery(
      new Uint8Array(rule.includes("optional region") ? 70 * MIB : file.bytes.length),
    );
    roomy.bytes.set(file.bytes);
    bend(roomy);
    expect(firstDifference(await contentOf(await openVhdx(roomy.file())), before)).toBe(-1);
    const defects = await checkVhdx(roomy.file());
    expect(defects.every((each) => each.severity === "note")).toBe(true);
  });
});

test("of two good headers the one with the greater sequence number counts, of equal ones the first", async () => {
  const file = await Forgery.dynamic();
  const guid = (last: string) => `00000000-0000-0000-0000-00000000000${last}`;
  file.headerWith({ sequenceNumber: 4n, dataWriteGuid: guid("1") }, 0);
  file.headerWith({ sequenceNumber: 5n, dataWriteGuid: guid("2") }, 1);
  expect((await openVhdx(file.file())).dataWriteGuid).toBe(guid("2"));
  file.headerWith({ sequenceNumber: 5n, dataWriteGuid: guid("1") }, 0);
  expect((await openVhdx(file.file())).dataWriteGuid).toBe(guid("1"));
});

test("check lists every defect of a file, not only the first", async () => {
  const file = await Forgery.dynamic();
  file.bat(1, 4n).bat(3, BLOCK(4, 6)).bat(4, 6n).addItem(FOREIGN, 70_000, 8, 4);
  const codes = (await checkVhdx(file.file())).map((each) => each.code);
  expect(codes).toEqual([
    "VHDX_METADATA_UNKNOWN_REQUIRED",
    "VHDX_BAT_STATE_RESERVED",
    "VHDX_BLOCKS_OVERLAP",
    "VHDX_BAT_OFFSET_INVALID",
  ]);
});

test("a file of a million defects makes a list of a thousand", async () => {
  const file = await Forgery.dynamic();
  file.metadata((m) => {
    m.setBigUint64(ITEM.size, BigInt(100_000) * 1_048_576n, true);
  });
  for (let block = 0; block < 100_000; block++) file.bat(block, 5n);
  expect(await checkVhdx(file.file())).toHaveLength(1_000);
});
