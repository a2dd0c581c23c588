import { createHash } from "node:crypto";
import type { ByteRange } from "../../lib/contracts/index.ts";
import type { DiskSource } from "../../lib/repository/index.ts";

/** Reproducible bytes that do not compress. */
export function noise(lengthBytes: number, seed: string): Buffer {
  const parts: Buffer[] = [];
  for (let block = 0; block * 32 < lengthBytes; block++) {
    parts.push(
      createHash("sha256")
        .update(`${seed}/${String(block)}`)
        .digest(),
    );
  }
  return Buffer.concat(parts).subarray(0, lengthBytes);
}

const ALLOCATION_BYTES = 16 * 1024;

/** A disk over a buffer; what is all zero in an allocation unit counts as unallocated. Counts the bytes read. */
export function bufferDisk(bytes: Buffer): DiskSource & { readBytes: number } {
  return {
    readBytes: 0,
    sizeBytes: bytes.length,
    read(offsetBytes, target) {
      this.readBytes += target.length;
      target.set(bytes.subarray(offsetBytes, offsetBytes + target.length));
      return Promise.resolve();
    },
    async *allocatedRanges(within: ByteRange = { offsetBytes: 0, lengthBytes: bytes.length }) {
      const end = within.offsetBytes + within.lengthBytes;
      for (
        let at = Math.floor(within.offsetBytes / ALLOCATION_BYTES) * ALLOCATION_BYTES;
        at < end;
        at += ALLOCATION_BYTES
      ) {
        const unitEnd = Math.min(at + ALLOCATION_BYTES, bytes.length);
        if (bytes.subarray(at, unitEnd).some((byte) => byte !== 0)) {
          yield await Promise.resolve({ offsetBytes: at, lengthBytes: unitEnd - at });
        }
      }
    },
  };
}
