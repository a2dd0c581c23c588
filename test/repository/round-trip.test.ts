import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import type { ByteRange } from "../../lib/contracts/index.ts";
import {
  BackupSession,
  createRepository,
  digestDisk,
  exportWriterKey,
  memoryStore,
  openRepository,
  parseKey,
  readDisk,
  type DiskSource,
} from "../../lib/repository/index.ts";

const signal = new AbortController().signal;
const CHUNK = 4096;

export function bufferDisk(bytes: Buffer): DiskSource {
  return {
    sizeBytes: bytes.length,
    read(offsetBytes, target) {
      target.set(bytes.subarray(offsetBytes, offsetBytes + target.length));
      return Promise.resolve();
    },
    async *allocatedRanges(within: ByteRange = { offsetBytes: 0, lengthBytes: bytes.length }) {
      const block = 16 * 1024;
      for (
        let at = Math.floor(within.offsetBytes / block) * block;
        at < within.offsetBytes + within.lengthBytes;
        at += block
      ) {
        const end = Math.min(at + block, bytes.length);
        if (bytes.subarray(at, end).some((byte) => byte !== 0))
          yield await Promise.resolve({ offsetBytes: at, lengthBytes: end - at });
      }
    },
  };
}

test("full then ranges", async () => {
  const objects = new Map<string, Uint8Array>();
  const store = memoryStore(objects);
  const owner = await createRepository(store, { passphrase: "p", chunkBytes: CHUNK, mapFanOut: 16 });
  const disk = Buffer.alloc(3_000_123);
  randomBytes(500_000).copy(disk, 100_000);
  randomBytes(9_000).copy(disk, 2_990_000);
  const writer = await openRepository(store, parseKey(exportWriterKey(owner)));
  const s1 = await BackupSession.open(writer);
  const first = await s1.backUp({ disk: bufferDisk(disk), changes: { kind: "full" }, signal });
  await s1.finish();
  const read = async (mapRoot: string) => {
    const got = Buffer.alloc(disk.length);
    const reader = await openRepository(store, { kind: "passphrase", passphrase: "p" });
    for await (const piece of readDisk(reader, { mapRoot, sizeBytes: disk.length }, signal))
      piece.data.copy(got, piece.offsetBytes);
    return got;
  };
  expect((await read(first.mapRoot)).equals(disk)).toBe(true);
  const second = Buffer.from(disk);
  randomBytes(5000).copy(second, 130_001);
  second.fill(0, 2_990_000, 2_999_000);
  const ranges = [
    { offsetBytes: 130_001, lengthBytes: 5000 },
    { offsetBytes: 2_990_000, lengthBytes: 9000 },
  ];
  const s2 = await BackupSession.open(await openRepository(store, parseKey(exportWriterKey(owner))));
  const incr = await s2.backUp({
    disk: bufferDisk(second),
    changes: { kind: "ranges", ranges, base: { mapRoot: first.mapRoot, sizeBytes: disk.length } },
    signal,
  });
  await s2.finish();
  console.log(first.sizes, incr.sizes);
  expect((await read(incr.mapRoot)).equals(second)).toBe(true);
  expect((await read(first.mapRoot)).equals(disk)).toBe(true);
  const reader = await openRepository(store, { kind: "passphrase", passphrase: "p" });
  expect(
    await digestDisk(
      reader,
      disk.length,
      readDisk(reader, { mapRoot: incr.mapRoot, sizeBytes: disk.length }, signal),
    ),
  ).toBe(incr.mapRoot);
  const s3 = await BackupSession.open(writer);
  const again = await s3.backUp({ disk: bufferDisk(second), changes: { kind: "compare" }, signal });
  expect(again.mapRoot).toBe(incr.mapRoot);
  expect(again.sizes.newChunkBytes).toBe(0);
  createHash("sha256");
  await expect(async () => {
    for await (const _ of readDisk(writer, { mapRoot: incr.mapRoot, sizeBytes: disk.length }, signal));
  }).rejects.toMatchObject({ code: "REPOSITORY_KEY_CANNOT_READ" });
});
