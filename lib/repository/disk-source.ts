import type { ByteRange } from "../contracts/index.ts";

/** A disk to back up; VirtualDisk of the vhdx room fits. */
export interface DiskSource {
  readonly sizeBytes: number;
  /** Fills `target` with the content at `offsetBytes`, or rejects. */
  read(offsetBytes: number, target: Uint8Array): Promise<void>;
  /** Everything that may be non-zero, ascending; what it leaves out is zero. */
  allocatedRanges(within?: ByteRange): AsyncIterable<ByteRange>;
}
