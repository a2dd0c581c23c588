import { KIB, MIB } from "./layout.ts";
import { isZero } from "./bytes.ts";
import type { VirtualDisk } from "./virtual-disk.ts";

/** Large enough that the cost of a piece is its copying, small enough that the pieces in flight stay in the cache. */
const PIECE_BYTES = 2 * MIB;
/** Zeros inside of allocated ranges are left out in runs of this. */
const GRAIN_BYTES = 64 * KIB;
/** libuv has four threads for files; more in flight only wait for one. */
const IN_FLIGHT = 4;

export interface CopyOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (copiedBytes: number) => void;
}

/**
 * Reads everything on a disk that is not zero and hands it to `write`, several pieces at once and in no certain
 * order. `write` must put all bytes of `data` to use before it resolves; the buffer is used again.
 */
export async function copyAllocated(
  disk: Pick<VirtualDisk, "read" | "allocatedRanges">,
  write: (offsetBytes: number, data: Uint8Array) => Promise<void>,
  options: CopyOptions = {},
): Promise<void> {
  const pieces = piecesOf(disk);
  let copied = 0;
  let isStopped = false;
  const work = async (): Promise<void> => {
    const buffer = new Uint8Array(PIECE_BYTES);
    while (!isStopped) {
      options.signal?.throwIfAborted();
      const next = await pieces.next();
      if (next.done === true) return;
      const { offsetBytes, lengthBytes } = next.value;
      const data = buffer.subarray(0, lengthBytes);
      await disk.read(offsetBytes, data);
      for (const [from, to] of nonZeroRuns(data)) await write(offsetBytes + from, data.subarray(from, to));
      copied += lengthBytes;
      options.onProgress?.(copied);
    }
  };
  const workers = Array.from({ length: IN_FLIGHT }, async () => {
    try {
      await work();
    } catch (error) {
      isStopped = true; // the others end with their piece
      throw error;
    }
  });
  const results = await Promise.allSettled(workers);
  for (const result of results) if (result.status === "rejected") throw result.reason;
}

/** Allocated ranges in pieces that begin at multiples of the piece size. */
async function* piecesOf(
  disk: Pick<VirtualDisk, "allocatedRanges">,
): AsyncGenerator<{ readonly offsetBytes: number; readonly lengthBytes: number }> {
  for await (const range of disk.allocatedRanges()) {
    const end = range.offsetBytes + range.lengthBytes;
    for (let at = range.offsetBytes; at < end;) {
      const to = Math.min(end, (Math.floor(at / PIECE_BYTES) + 1) * PIECE_BYTES);
      yield { offsetBytes: at, lengthBytes: to - at };
      at = to;
    }
  }
}

/** [from, to) of the runs of grains that are not all zeros. */
function* nonZeroRuns(data: Uint8Array): Generator<readonly [number, number]> {
  let from: number | undefined;
  for (let at = 0; at < data.length; at += GRAIN_BYTES) {
    if (isZero(data.subarray(at, Math.min(data.length, at + GRAIN_BYTES)))) {
      if (from !== undefined) yield [from, at];
      from = undefined;
    } else {
      from ??= at;
    }
  }
  if (from !== undefined) yield [from, data.length];
}
