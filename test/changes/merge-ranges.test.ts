import fc from "fast-check";
import { expect, test } from "vitest";
import { mergeRanges, totalBytes } from "../../lib/changes/index.ts";

test("merged ranges cover exactly the same bytes, ascending and apart", () => {
  const range = fc.record({ offsetBytes: fc.nat(200), lengthBytes: fc.integer({ min: 1, max: 40 }) });
  fc.assert(
    fc.property(fc.array(range), (ranges) => {
      const bytesOf = (list: readonly { offsetBytes: number; lengthBytes: number }[]) =>
        new Set(
          list.flatMap(({ offsetBytes, lengthBytes }) =>
            Array.from({ length: lengthBytes }, (_, i) => offsetBytes + i),
          ),
        );
      const merged = mergeRanges(ranges);
      expect(bytesOf(merged)).toEqual(bytesOf(ranges));
      expect(totalBytes(merged)).toBe(bytesOf(ranges).size);
      for (const [index, each] of merged.entries()) {
        const next = merged[index + 1];
        if (next !== undefined) expect(each.offsetBytes + each.lengthBytes).toBeLessThan(next.offsetBytes);
      }
    }),
  );
});
