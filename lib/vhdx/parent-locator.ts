import { viewOf } from "./bytes.ts";
import type { Inspector } from "./defects.ts";
import { NIL_GUID, parseGuid, readGuid, writeGuid, type Guid } from "./guid.ts";

export const VHDX_LOCATOR_TYPE: Guid = "b04aefb7-d19e-4a81-b789-25b8e9445913";

const HEADER_BYTES = 20;
const ENTRY_BYTES = 12;
/** The format allows 65 535 pairs; it defines five keys. */
const MAX_PAIRS = 256;

/** How a differencing disk names its parent ([MS-VHDX] §2.6.2.6). The paths are text of the file: never open them. */
export interface ParentLocator {
  /** The parent's DataWriteGuid is one of these (one, or two while a merge is under way). */
  readonly linkages: readonly Guid[];
  readonly relativePath?: string;
  readonly volumePath?: string;
  readonly absolutePath?: string;
  /** All pairs as they stand, for a writer that changes one. */
  readonly pairs: ReadonlyMap<string, string>;
}

/** Parses a parent locator item. */
export function parseParentLocator(item: Uint8Array, inspector: Inspector): ParentLocator {
  if (item.length < HEADER_BYTES) {
    inspector.stop(
      "VHDX_LOCATOR_ENTRY_INVALID",
      `the parent locator has ${item.length} bytes, fewer than its header`,
    );
  }
  const view = viewOf(item);
  const type = readGuid(item);
  if (type !== VHDX_LOCATOR_TYPE) {
    inspector.stop(
      "VHDX_LOCATOR_TYPE_UNKNOWN",
      `the parent is named by a locator of type ${type}; only VHDX parents (${VHDX_LOCATOR_TYPE}) are known`,
    );
  }
  if (view.getUint16(16, true) !== 0) {
    inspector.refuse("VHDX_LOCATOR_RESERVED_NONZERO", "reserved bytes of the parent locator are not zero");
  }
  const count = view.getUint16(18, true);
  if (count === 0 || count > MAX_PAIRS || HEADER_BYTES + count * ENTRY_BYTES > item.length) {
    inspector.stop(
      "VHDX_LOCATOR_COUNT_INVALID",
      `the parent locator says it has ${count} pairs, in an item of ${item.length} bytes`,
    );
  }
  const pairs = new Map<string, string>();
  for (let index = 0; index < count; index++) {
    const at = HEADER_BYTES + index * ENTRY_BYTES;
    const key = text(item, view.getUint32(at, true), view.getUint16(at + 8, true), inspector);
    const value = text(item, view.getUint32(at + 4, true), view.getUint16(at + 10, true), inspector);
    if (key === undefined || value === undefined) continue;
    if (pairs.has(key)) {
      inspector.refuse("VHDX_LOCATOR_KEY_DUPLICATE", `the parent locator has the key "${key}" twice`);
    }
    pairs.set(key, value);
  }
  return interpret(pairs, inspector);
}

function text(item: Uint8Array, offset: number, length: number, inspector: Inspector): string | undefined {
  const isInside = offset >= HEADER_BYTES && length > 0 && length % 2 === 0 && offset + length <= item.length;
  const value = isInside ? new TextDecoder("utf-16le").decode(item.slice(offset, offset + length)) : "";
  if (!isInside || value.includes("\0")) {
    inspector.refuse(
      "VHDX_LOCATOR_ENTRY_INVALID",
      `a text of the parent locator (${length} bytes at ${offset}) is not UTF-16 inside the item of ${item.length} bytes`,
    );
    return undefined;
  }
  return value;
}

function interpret(pairs: ReadonlyMap<string, string>, inspector: Inspector): ParentLocator {
  const linkages: Guid[] = [];
  for (const key of ["parent_linkage", "parent_linkage2"] as const) {
    const value = pairs.get(key);
    if (value === undefined) continue;
    const guid = parseGuid(value);
    if (guid === undefined) {
      inspector.refuse("VHDX_LOCATOR_LINKAGE_INVALID", `${key} of the parent locator is no GUID`);
    } else if (key === "parent_linkage" || guid !== NIL_GUID) {
      linkages.push(guid); // Windows writes parent_linkage2 as zeros where the specification leaves it out
    }
  }
  if (!pairs.has("parent_linkage")) {
    inspector.refuse("VHDX_LOCATOR_LINKAGE_INVALID", "the parent locator has no parent_linkage");
  }
  const relativePath = pairs.get("relative_path");
  const volumePath = pairs.get("volume_path");
  const absolutePath = pairs.get("absolute_win32_path");
  if (relativePath === undefined && volumePath === undefined && absolutePath === undefined) {
    inspector.refuse("VHDX_LOCATOR_PATH_MISSING", "the parent locator names no path of the parent");
  }
  return {
    linkages,
    ...(relativePath === undefined ? {} : { relativePath }),
    ...(volumePath === undefined ? {} : { volumePath }),
    ...(absolutePath === undefined ? {} : { absolutePath }),
    pairs,
  };
}

/** A locator item of the VHDX type. Texts follow the entry table in the order of the pairs, as Windows lays them out. */
export function encodeParentLocator(pairs: ReadonlyMap<string, string>): Uint8Array {
  const texts = [...pairs].flat();
  const lengths = texts.map((each) => each.length * 2);
  const start = HEADER_BYTES + pairs.size * ENTRY_BYTES;
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, start));
  const view = viewOf(bytes);
  writeGuid(VHDX_LOCATOR_TYPE, bytes);
  view.setUint16(18, pairs.size, true);
  let offset = start;
  texts.forEach((each, index) => {
    const at = HEADER_BYTES + Math.floor(index / 2) * ENTRY_BYTES;
    const isValue = index % 2 === 1;
    view.setUint32(at + (isValue ? 4 : 0), offset, true);
    view.setUint16(at + (isValue ? 10 : 8), each.length * 2, true);
    for (let unit = 0; unit < each.length; unit++)
      view.setUint16(offset + 2 * unit, each.charCodeAt(unit), true);
    offset += each.length * 2;
  });
  return bytes;
}
