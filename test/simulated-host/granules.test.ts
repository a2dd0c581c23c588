import fc from "fast-check";
import { expect, test } from "vitest";
import {
  GRANULE_BYTES,
  GranuleSet,
  pageOfRuns,
  uniteRuns,
  type GranuleRuns,
} from "../../lib/simulated-host/tracking/granules.ts";

const writes = fc.array(fc.tuple(fc.nat({ max: 3_000_000 }), fc.integer({ min: 1, max: 200_000 })), {
  maxLength: 30,
});

function runsOfWrites(list: readonly (readonly [number, number])[]): GranuleRuns {
  const set = new GranuleSet();
  for (const [offset, length] of list) set.mark(offset, length);
  return set.runs();
}

const covers = (runs: GranuleRuns, byte: number) =>
  runs.some(([first, count]) => byte >= first * GRANULE_BYTES && byte < (first + count) * GRANULE_BYTES);

test("every written byte is in a run, and runs are ascending and do not touch", () => {
  fc.assert(
    fc.property(writes, (list) => {
      const runs = runsOfWrites(list);
      for (const [offset, length] of list) {
        for (const byte of [offset, offset + length - 1, offset + Math.floor(length / 2)]) {
          expect(covers(runs, byte)).toBe(true);
        }
      }
      for (const [index, [first]] of runs.entries()) {
        const before = runs[index - 1];
        if (before !== undefined) expect(first).toBeGreaterThan(before[0] + before[1]);
      }
    }),
  );
});

test("no run reaches further than the 16 KiB around a write", () => {
  expect(runsOfWrites([[GRANULE_BYTES * 3 - 1, 2]])).toEqual([[2, 2]]);
  expect(runsOfWrites([[GRANULE_BYTES * 3, GRANULE_BYTES]])).toEqual([[3, 1]]);
  expect(runsOfWrites([[5, 0]])).toEqual([]);
});

test("the union of two maps holds what either holds and nothing else", () => {
  fc.assert(
    fc.property(writes, writes, (one, other) => {
      expect(uniteRuns([runsOfWrites(one), runsOfWrites(other)])).toEqual(runsOfWrites([...one, ...other]));
    }),
  );
});

test("pages of any size, joined, are the whole answer cut to the range", () => {
  fc.assert(
    fc.property(
      writes,
      fc.nat({ max: 2_000_000 }),
      fc.integer({ min: 1, max: 2_000_000 }),
      fc.integer({ min: 1, max: 4 }),
      (list, offsetBytes, lengthBytes, maxRanges) => {
        const runs = runsOfWrites(list);
        const whole = pageOfRuns(runs, { offsetBytes, lengthBytes }, Number.MAX_SAFE_INTEGER);
        const joined = [];
        for (let at = offsetBytes; at < offsetBytes + lengthBytes;) {
          const rest = { offsetBytes: at, lengthBytes: offsetBytes + lengthBytes - at };
          const page = pageOfRuns(runs, rest, maxRanges);
          expect(page.ranges.length).toBeLessThanOrEqual(maxRanges);
          expect(page.processedBytes).toBeGreaterThan(0);
          joined.push(...page.ranges);
          at += page.processedBytes;
        }
        expect(joined).toEqual(whole.ranges);
        expect(whole.processedBytes).toBe(lengthBytes);
      },
    ),
  );
});
