import type { ByteRange } from "../contracts/index.ts";
import type { DiskSource } from "./disk-source.ts";

/** Chunks [first, end) of a disk. */
export interface ChunkRun {
  readonly first: number;
  readonly end: number;
}

/** What of one map leaf has to be looked at. `touched` chunks get new ids; those not in `allocated` are zero without a read. */
export interface LeafPlan {
  readonly leaf: number;
  readonly touched: readonly ChunkRun[];
  readonly allocated: readonly ChunkRun[];
}

export interface PlanFacts {
  /** Called with each range as it is taken up, cut to the disk. */
  readonly onRange?: (lengthBytes: number) => void;
}

/**
 * Rounds byte ranges out to chunks and hands them on leaf by leaf, in ascending order; memory holds one leaf.
 *
 * @throws RangeError when the ranges' offsets do not ascend: skipping one would lose a change
 * @param changes null: everything allocated (a full or comparing run)
 */
export async function* planLeaves(
  disk: DiskSource,
  changes: AsyncIterable<ByteRange> | Iterable<ByteRange> | null,
  grid: { readonly chunkBytes: number; readonly fanOut: number },
  facts: PlanFacts = {},
): AsyncGenerator<LeafPlan> {
  let leaf = -1;
  let touched: ChunkRun[] = [];
  let latestOffset = 0;
  /** Everything before it has been taken up; ranges may overlap. */
  let behind = 0;
  const plan = async (): Promise<LeafPlan> => {
    if (changes === null) return { leaf, touched, allocated: touched };
    const allocated: ChunkRun[] = [];
    for (const run of touched) allocated.push(...(await allocatedIn(disk, run, grid.chunkBytes)));
    return { leaf, touched, allocated };
  };
  for await (const range of changes ?? disk.allocatedRanges()) {
    if (range.offsetBytes < latestOffset) throw new RangeError("byte ranges must come in ascending order");
    latestOffset = range.offsetBytes;
    const start = Math.min(Math.max(range.offsetBytes, behind), disk.sizeBytes);
    const end = Math.min(range.offsetBytes + range.lengthBytes, disk.sizeBytes);
    if (end <= start) continue;
    behind = end;
    facts.onRange?.(end - start);
    const last = Math.ceil(end / grid.chunkBytes);
    for (let first = Math.floor(start / grid.chunkBytes); first < last;) {
      const index = Math.floor(first / grid.fanOut);
      if (index !== leaf) {
        if (touched.length > 0) yield await plan();
        leaf = index;
        touched = [];
      }
      const until = Math.min(last, (index + 1) * grid.fanOut);
      append(touched, { first, end: until });
      first = until;
    }
  }
  if (touched.length > 0) yield await plan();
}

async function allocatedIn(disk: DiskSource, run: ChunkRun, chunkBytes: number): Promise<ChunkRun[]> {
  const found: ChunkRun[] = [];
  const offsetBytes = run.first * chunkBytes;
  const lengthBytes = Math.min(run.end * chunkBytes, disk.sizeBytes) - offsetBytes;
  for await (const range of disk.allocatedRanges({ offsetBytes, lengthBytes })) {
    const first = Math.max(run.first, Math.floor(range.offsetBytes / chunkBytes));
    const end = Math.min(run.end, Math.ceil((range.offsetBytes + range.lengthBytes) / chunkBytes));
    if (end > first) append(found, { first, end });
  }
  return found;
}

/** Adds a run behind the others, joined with the last where they touch or overlap. */
function append(runs: ChunkRun[], run: ChunkRun): void {
  const last = runs.at(-1);
  if (last === undefined || run.first > last.end) runs.push(run);
  else if (run.end > last.end) runs[runs.length - 1] = { first: last.first, end: run.end };
}
