/** A GUID as text: lower case, no braces. */
export type Guid = string;

export const NIL_GUID: Guid = "00000000-0000-0000-0000-000000000000";

/** Byte order on disk: the first three fields little-endian, the last eight bytes as they stand. */
const ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const;

export function readGuid(bytes: Uint8Array, at = 0): Guid {
  const hex = ORDER.map((index) => (bytes[at + index] ?? 0).toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

export function writeGuid(guid: Guid, target: Uint8Array, at = 0): void {
  const hex = guid.replaceAll("-", "");
  ORDER.forEach((index, position) => {
    target[at + index] = Number.parseInt(hex.slice(2 * position, 2 * position + 2), 16);
  });
}

/** The GUID in a text such as `{83ED0EC3-24C8-49A6-A959-5E4BF1288BFB}`, with braces or without; undefined for others. */
export function parseGuid(text: string): Guid | undefined {
  const match =
    /^\{?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\}?$/i.exec(text) ?? undefined;
  return match?.[1]?.toLowerCase();
}
