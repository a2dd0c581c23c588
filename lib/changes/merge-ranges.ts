import type { ByteRange } from "../contracts/index.ts";

/** The same bytes as ascending, disjoint ranges that do not touch. */
export function mergeRanges(ranges: readonly ByteRange[]): ByteRange[] {
  const merged: { offsetBytes: number; lengthBytes: number }[] = [];
  for (const { offsetBytes, lengthBytes } of ranges.toSorted((a, b) => a.offsetBytes - b.offsetBytes)) {
    const last = merged.at(-1);
    if (last !== undefined && offsetBytes <= last.offsetBytes + last.lengthBytes) {
      last.lengthBytes = Math.max(last.lengthBytes, offsetBytes + lengthBytes - last.offsetBytes);
    } else {
      merged.push({ offsetBytes, lengthBytes });
    }
  }
  return merged;
}

export function totalBytes(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
}
