/** A half-open byte range [offsetBytes, offsetBytes + lengthBytes), on a disk or in a file. */
export interface ByteRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}
