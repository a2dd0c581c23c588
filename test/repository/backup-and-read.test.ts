import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  BackupSession,
  createRepository,
  digestDisk,
  exportWriterKey,
  memoryStore,
  openRepository,
  parseKey,
  readDisk,
  type DiskChanges,
  type ObjectStore,
  type Repository,
} from "../../lib/repository/index.ts";
import { bufferDisk, noise } from "./fixtures.ts";

const { signal } = new AbortController();
const CHUNK = 4096;
const SIZE = 700_123;
const PASSPHRASE = "not a secret";

async function emptyRepository(store: ObjectStore = memoryStore()) {
  const owner = await createRepository(store, {
    passphrase: PASSPHRASE,
    chunkBytes: CHUNK,
    mapFanOut: 16,
    scryptCost: 2 ** 14,
  });
  const writer = await openRepository(store, parseKey(exportWriterKey(owner)));
  return { store, owner, writer };
}

async function backUp(repository: Repository, content: Buffer, changes: DiskChanges = { kind: "full" }) {
  const session = await BackupSession.open(repository);
  const disk = bufferDisk(content);
  const stored = await session.backUp({ disk, changes, signal });
  await session.finish();
  return { ...stored, actuallyRead: disk.readBytes };
}

async function restore(repository: Repository, mapRoot: string, sizeBytes: number): Promise<Buffer> {
  const content = Buffer.alloc(sizeBytes);
  for await (const { offsetBytes, data } of readDisk(repository, { mapRoot, sizeBytes }, signal)) {
    data.copy(content, offsetBytes);
  }
  return content;
}

/** A disk with data at both ends, a repeated stretch, and unallocated space between. */
function sampleDisk(): Buffer {
  const content = Buffer.alloc(SIZE);
  noise(200_000, "a").copy(content, 10_000);
  noise(50_000, "a").copy(content, 400_000);
  noise(5_000, "end").copy(content, SIZE - 5_000);
  return content;
}

describe("a full backup", () => {
  test("restores byte for byte, to the last short chunk", async () => {
    const { owner, writer } = await emptyRepository();
    const content = sampleDisk();
    const { mapRoot } = await backUp(writer, content);
    expect((await restore(owner, mapRoot, SIZE)).equals(content)).toBe(true);
  });

  test("reads nothing of what is unallocated, and says truly what it read", async () => {
    const { writer } = await emptyRepository();
    const { sizes, actuallyRead } = await backUp(writer, sampleDisk());
    expect(sizes.readBytes).toBe(actuallyRead);
    expect(sizes.readBytes).toBeLessThan(SIZE / 2);
    expect(sizes.changedBytes).toBe(sizes.allocatedBytes);
  });

  test("of an empty disk stores nothing and restores zeros", async () => {
    const { owner, writer } = await emptyRepository();
    const { mapRoot, sizes } = await backUp(writer, Buffer.alloc(SIZE));
    expect(mapRoot).toBe("0".repeat(64));
    expect(sizes.uploadedBytes).toBe(0);
    expect((await restore(owner, mapRoot, SIZE)).equals(Buffer.alloc(SIZE))).toBe(true);
  });

  test("a second one of the same disk stores no chunk and has the same root", async () => {
    const { writer } = await emptyRepository();
    const first = await backUp(writer, sampleDisk());
    const second = await backUp(writer, sampleDisk(), { kind: "compare" });
    expect(second.mapRoot).toBe(first.mapRoot);
    expect(second.sizes).toMatchObject({ newChunkBytes: 0, uploadedBytes: 0 });
  });
});

describe("an incremental backup", () => {
  const edit = fc.record({
    offsetBytes: fc.nat(SIZE - 1),
    lengthBytes: fc.integer({ min: 1, max: 30_000 }),
    kind: fc.constantFrom<("noise" | "zero")[]>("noise", "zero"),
  });

  test("restores what the disk was, keeps older points, and reads at most the changes rounded out to chunks", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { maxLength: 6 }), async (edits) => {
        const { owner, writer } = await emptyRepository();
        const before = sampleDisk();
        const base = { mapRoot: (await backUp(writer, before)).mapRoot, sizeBytes: SIZE };
        const after = Buffer.from(before);
        const ranges = [...edits].sort((a, b) => a.offsetBytes - b.offsetBytes);
        for (const [index, { offsetBytes, lengthBytes, kind }] of ranges.entries()) {
          const end = Math.min(SIZE, offsetBytes + lengthBytes);
          if (kind === "zero") after.fill(0, offsetBytes, end);
          else noise(end - offsetBytes, `edit ${String(index)}`).copy(after, offsetBytes);
        }
        const incremental = await backUp(writer, after, { kind: "ranges", ranges, base });
        expect((await restore(owner, incremental.mapRoot, SIZE)).equals(after)).toBe(true);
        expect((await restore(owner, base.mapRoot, SIZE)).equals(before)).toBe(true);
        expect(incremental.mapRoot).toBe((await backUp(writer, after)).mapRoot);
        expect(incremental.actuallyRead).toBeLessThanOrEqual(incremental.sizes.changedChunkBytes);
      }),
      { numRuns: 25 },
    );
  });

  test("with ranges out of order is refused: one that is passed over would be a lost change", async () => {
    const { writer } = await emptyRepository();
    const base = { mapRoot: (await backUp(writer, sampleDisk())).mapRoot, sizeBytes: SIZE };
    const ranges = [
      { offsetBytes: 500_000, lengthBytes: 10 },
      { offsetBytes: 20_000, lengthBytes: 10 },
    ];
    await expect(backUp(writer, sampleDisk(), { kind: "ranges", ranges, base })).rejects.toThrow("ascending");
  });

  test("against a base of another size is refused: the caller must compare", async () => {
    const { writer } = await emptyRepository();
    const base = { mapRoot: (await backUp(writer, sampleDisk())).mapRoot, sizeBytes: SIZE };
    const grown = Buffer.concat([sampleDisk(), Buffer.alloc(CHUNK)]);
    await expect(backUp(writer, grown, { kind: "ranges", ranges: [], base })).rejects.toMatchObject({
      code: "INPUT_INVALID",
    });
  });
});

test("the root recomputed from restored content is the root that was backed up, and no other content has it", async () => {
  const { owner, writer } = await emptyRepository();
  const content = sampleDisk();
  const { mapRoot } = await backUp(writer, content);
  const digest = (bytes: Buffer) => digestDisk(owner, SIZE, pieces(bytes));
  expect(await digest(content)).toBe(mapRoot);
  for (const at of [0, 10_000, 399_999, SIZE - 1]) {
    const other = Buffer.from(content);
    other.writeUInt8(other.readUInt8(at) ^ 1, at);
    expect(await digest(other)).not.toBe(mapRoot);
  }
});

async function* pieces(bytes: Buffer) {
  for (let offsetBytes = 0; offsetBytes < bytes.length; offsetBytes += 5_000) {
    yield await Promise.resolve({ offsetBytes, data: bytes.subarray(offsetBytes, offsetBytes + 5_000) });
  }
}

test.each([1, 4095, 4096, 65_536, 65_537, 1_048_576, 1_048_577, 2_000_000])(
  "a disk of %i bytes has the root that its restored content gives",
  async (sizeBytes) => {
    const { owner, writer } = await emptyRepository();
    const content = Buffer.alloc(sizeBytes);
    noise(Math.min(sizeBytes, 9_000), "head").copy(content);
    noise(Math.min(sizeBytes, 5_000), "tail").copy(content, sizeBytes - Math.min(sizeBytes, 5_000));
    const { mapRoot } = await backUp(writer, content);
    expect((await restore(owner, mapRoot, sizeBytes)).equals(content)).toBe(true);
    expect(await digestDisk(owner, sizeBytes, pieces(content))).toBe(mapRoot);
  },
);

test("a writer's key adds and re-uses chunks but reads none", async () => {
  const { writer } = await emptyRepository();
  const { mapRoot } = await backUp(writer, sampleDisk());
  await expect(restore(writer, mapRoot, SIZE)).rejects.toMatchObject({ code: "REPOSITORY_KEY_CANNOT_READ" });
});

test("a lost index is made anew from the packs alone", async () => {
  const objects = new Map<string, Uint8Array>();
  const { writer, store } = await emptyRepository(memoryStore(objects));
  const { mapRoot } = await backUp(writer, sampleDisk());
  for (const name of [...objects.keys()].filter((each) => each.startsWith("index/"))) objects.delete(name);
  const reader = await openRepository(store, { kind: "passphrase", passphrase: PASSPHRASE });
  await reader.index.rebuild();
  expect((await restore(reader, mapRoot, SIZE)).equals(sampleDisk())).toBe(true);
});

describe("a writer that dies at any call to the store", () => {
  /** Counts the calls and, at the nth, either refuses before the effect or loses the answer after it. */
  function dyingStore(
    inner: ObjectStore,
    dieAt: number,
    isAfterEffect: boolean,
  ): ObjectStore & { calls: number } {
    return {
      ...inner,
      calls: 0,
      async put(name, bytes, options) {
        this.calls++;
        if (this.calls < dieAt) return inner.put(name, bytes, options);
        if (this.calls === dieAt && isAfterEffect) await inner.put(name, bytes, options);
        throw new Error("power cut");
      },
    };
  }

  test.each([false, true])(
    "leaves older points whole, and the next backup works (effect done: %s)",
    async (isAfter) => {
      for (let dieAt = 1; ; dieAt++) {
        const { owner, writer, store } = await emptyRepository();
        const before = sampleDisk();
        const base = { mapRoot: (await backUp(writer, before)).mapRoot, sizeBytes: SIZE };
        const after = Buffer.from(before);
        noise(60_000, "late").copy(after, 100_000);
        const ranges = [{ offsetBytes: 100_000, lengthBytes: 60_000 }];
        const dying = dyingStore(store, dieAt, isAfter);
        const victim = await openRepository(dying, parseKey(exportWriterKey(owner)));
        const outcome = await backUp(victim, after, { kind: "ranges", ranges, base }).catch(() => undefined);
        const next = await openRepository(store, parseKey(exportWriterKey(owner)));
        const repeated = await backUp(next, after, { kind: "ranges", ranges, base });
        const reader = await openRepository(store, { kind: "passphrase", passphrase: PASSPHRASE });
        expect((await restore(reader, base.mapRoot, SIZE)).equals(before)).toBe(true);
        expect((await restore(reader, repeated.mapRoot, SIZE)).equals(after)).toBe(true);
        if (outcome !== undefined) break; // it got through before its time came
      }
    },
  );
});
