import * as z from "zod";

/** A half-open byte range [offsetBytes, offsetBytes + lengthBytes), on a disk or in a file. */
export interface ByteRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export const ByteCount = z.int().nonnegative();
export const ByteRange = z.object({ offsetBytes: ByteCount, lengthBytes: ByteCount });
