import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { DiskContent } from "./open-disk.ts";

const PIECE_BYTES = 2 * 1_048_576;
const ZEROS = new Uint8Array(PIECE_BYTES);

/** One stretch of the disk to hash: read from it, or known to be zeros. */
interface Piece {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly isZero: boolean;
}

/** sha256 of everything that a guest reads from the disk, in hex. One read is under way while the last is hashed. */
export async function digestOf(disk: DiskContent, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  const buffers = [new Uint8Array(PIECE_BYTES), new Uint8Array(PIECE_BYTES)] as const;
  let turn = 0;
  let pending: Promise<Uint8Array> | undefined;
  for await (const piece of piecesOf(disk)) {
    signal.throwIfAborted();
    const buffer = buffers[turn % 2 === 0 ? 0 : 1];
    turn++;
    const reading = contentOf(disk, piece, buffer);
    reading.catch(() => undefined); // awaited one turn later
    if (pending !== undefined) hash.update(await pending);
    pending = reading;
  }
  if (pending !== undefined) hash.update(await pending);
  return hash.digest("hex");
}

async function contentOf(disk: DiskContent, piece: Piece, buffer: Uint8Array): Promise<Uint8Array> {
  if (piece.isZero) {
    await setImmediate(); // lets a stop signal in while terabytes of zeros go by
    return ZEROS.subarray(0, piece.lengthBytes);
  }
  const part = buffer.subarray(0, piece.lengthBytes);
  await disk.read(piece.offsetBytes, part);
  return part;
}

async function* piecesOf(disk: DiskContent): AsyncGenerator<Piece> {
  let position = 0;
  for await (const { offsetBytes, lengthBytes } of disk.allocatedRanges()) {
    yield* cut(position, offsetBytes, true);
    yield* cut(offsetBytes, offsetBytes + lengthBytes, false);
    position = offsetBytes + lengthBytes;
  }
  yield* cut(position, disk.sizeBytes, true);
}

function* cut(start: number, end: number, isZero: boolean): Generator<Piece> {
  for (let at = start; at < end; at += PIECE_BYTES) {
    yield { offsetBytes: at, lengthBytes: Math.min(PIECE_BYTES, end - at), isZero };
  }
}
