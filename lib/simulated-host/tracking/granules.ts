import type { ByteRange } from "../../contracts/index.ts";

/** The grain of change tracking: a write of one byte marks 16 KiB. */
export const GRANULE_BYTES = 16_384;

/** Granules as [first, count] pairs, ascending, disjoint and not touching. */
export type GranuleRuns = readonly (readonly [first: number, count: number])[];

/** The granules that a write touches. */
export class GranuleSet {
  readonly #granules = new Set<number>();

  mark(offsetBytes: number, lengthBytes: number): void {
    if (lengthBytes === 0) return;
    const last = Math.floor((offsetBytes + lengthBytes - 1) / GRANULE_BYTES);
    for (let granule = Math.floor(offsetBytes / GRANULE_BYTES); granule <= last; granule++) {
      this.#granules.add(granule);
    }
  }

  addRuns(runs: GranuleRuns): void {
    for (const [first, count] of runs) {
      for (let granule = first; granule < first + count; granule++) this.#granules.add(granule);
    }
  }

  runs(): GranuleRuns {
    const runs: [number, number][] = [];
    for (const granule of Float64Array.from(this.#granules).sort()) {
      const last = runs.at(-1);
      if (last !== undefined && last[0] + last[1] === granule) last[1]++;
      else runs.push([granule, 1]);
    }
    return runs;
  }

  clear(): void {
    this.#granules.clear();
  }
}

/** Everything that is in one of them. */
export function uniteRuns(all: readonly GranuleRuns[]): GranuleRuns {
  const sorted = all.flat().sort((one, other) => one[0] - other[0]);
  const united: [number, number][] = [];
  for (const [first, count] of sorted) {
    const last = united.at(-1);
    if (last !== undefined && first <= last[0] + last[1]) {
      last[1] = Math.max(last[1], first + count - last[0]);
    } else {
      united.push([first, count]);
    }
  }
  return united;
}

/**
 * One page of an answer: the runs within `range`, cut to it and to the disk, at most `maxRanges` of them.
 *
 * @returns processedBytes up to where the answer is complete, counted from `range.offsetBytes`
 */
export function pageOfRuns(
  runs: GranuleRuns,
  range: ByteRange,
  maxRanges: number,
): { readonly processedBytes: number; readonly ranges: ByteRange[] } {
  const end = range.offsetBytes + range.lengthBytes;
  const ranges: ByteRange[] = [];
  for (const [first, count] of runs) {
    const from = Math.max(range.offsetBytes, first * GRANULE_BYTES);
    const to = Math.min(end, (first + count) * GRANULE_BYTES);
    if (from >= to) continue;
    if (ranges.length === maxRanges) return { processedBytes: from - range.offsetBytes, ranges };
    ranges.push({ offsetBytes: from, lengthBytes: to - from });
  }
  return { processedBytes: range.lengthBytes, ranges };
}
