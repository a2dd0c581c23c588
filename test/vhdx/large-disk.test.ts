import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createDifferencing,
  createVhdx,
  createVhdxStream,
  memoryFile,
  openVhdx,
  openVhdxForWrite,
  type ByteReader,
} from "../../lib/vhdx/index.ts";
import { MIB, rangesOf } from "./disk-lab.ts";

const TIB = 2 ** 40;

/** Counts what is read of a file. */
function counting(file: ByteReader): { readonly reader: ByteReader; readonly readBytes: () => number } {
  let readBytes = 0;
  return {
    reader: {
      sizeBytes: file.sizeBytes,
      read(offsetBytes, target) {
        readBytes += target.length;
        return file.read(offsetBytes, target);
      },
    },
    readBytes: () => readBytes,
  };
}

describe("a disk whose BAT has many pages and chunks", () => {
  // 4096 blocks are a chunk, 8192 entries are a page of BAT: both borders, and what lies around them.
  const interesting = [
    0, 4_094, 4_095, 4_096, 8_188, 8_189, 8_190, 8_191, 8_192, 12_287, 12_288, 16_379, 16_380, 16_383,
  ];
  const blocks = 20_000;
  const block = fc.oneof(fc.constantFrom(...interesting), fc.integer({ min: 0, max: blocks - 1 }));

  test("maps and reads every block, whichever are present, from base and child", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(block, { maxLength: 30 }),
        fc.uniqueArray(block, { maxLength: 15 }),
        fc.uniqueArray(block, { maxLength: 15 }),
        block,
        async (inBase, inChild, dropped, from) => {
          const base = memoryFile();
          const stream = await createVhdxStream(base, { sizeBytes: blocks * MIB, blockBytes: MIB });
          for (const each of inBase) await stream.write(each * MIB, new Uint8Array(512).fill(1));
          await stream.finish();
          const parent = await openVhdx(base);
          const child = memoryFile();
          await createDifferencing(child, { image: parent, relativePath: "base.vhdx" }, { blockBytes: MIB });
          const writer = await openVhdxForWrite(child, { parent });
          for (const each of inChild) await writer.write(each * MIB + 512, new Uint8Array(512).fill(2));
          for (const each of dropped) await writer.writeZeros({ offsetBytes: each * MIB, lengthBytes: MIB });
          await writer.close();
          const disk = await openVhdx(child, { parent });

          const within = { offsetBytes: from * MIB + 256, lengthBytes: (blocks - from) * MIB - 256 };
          const ranges = await rangesOf(disk.allocatedRanges(within));
          const covers = (at: number): boolean =>
            ranges.some(
              ({ offsetBytes, lengthBytes }) => at >= offsetBytes && at < offsetBytes + lengthBytes,
            );
          const found = new Uint8Array(1_024);
          for (const each of new Set([...interesting, ...inBase, ...inChild, ...dropped])) {
            const isGone = dropped.includes(each);
            const expected = [
              !isGone && inBase.includes(each) ? 1 : 0,
              !isGone && inChild.includes(each) ? 2 : 0,
            ];
            await disk.read(each * MIB, found);
            expect([found[0], found[512]]).toEqual(expected);
            if (each > from)
              expect([covers(each * MIB), covers(each * MIB + 512)]).toEqual(
                isGone
                  ? [false, false]
                  : [inBase.includes(each), inBase.includes(each) || inChild.includes(each)],
              );
          }
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe("a disk of 64 TiB", () => {
  test("is planned by reading its BAT once and the pages that hold blocks once more", async () => {
    const file = memoryFile();
    await createVhdx(file, { kind: "dynamic", sizeBytes: 64 * TIB, blockBytes: 32 * MIB });
    const writer = await openVhdxForWrite(file);
    const places = [0, 10 * TIB, 63 * TIB + 32 * MIB];
    for (const at of places) await writer.write(at, new Uint8Array(512).fill(1));
    await writer.close();
    const { reader, readBytes } = counting(file);
    const image = await openVhdx(reader);
    expect(await rangesOf(image.allocatedRanges())).toEqual(
      places.map((offsetBytes) => ({ offsetBytes, lengthBytes: 32 * MIB })),
    );
    const batBytes = ((64 * TIB) / (32 * MIB)) * 8;
    expect(readBytes()).toBeLessThan(1.1 * batBytes);
  });

  test("reads its last sector, also through a child with other blocks", async () => {
    const file = memoryFile();
    await createVhdx(file, {
      kind: "dynamic",
      sizeBytes: 64 * TIB,
      blockBytes: 256 * MIB,
      logicalSectorBytes: 4096,
    });
    const writer = await openVhdxForWrite(file);
    const last = new Uint8Array(4_096).fill(5);
    await writer.write(64 * TIB - 4_096, last);
    await writer.close();
    const parent = await openVhdx(file);
    const child = memoryFile();
    await createDifferencing(child, { image: parent, relativePath: "base.vhdx" }, { blockBytes: 32 * MIB });
    const disk = await openVhdxForWrite(child, { parent });
    await disk.write(64 * TIB - 8_192, new Uint8Array(4_096).fill(6));
    await disk.close();
    const found = new Uint8Array(8_192);
    await (await openVhdx(child, { parent })).read(64 * TIB - 8_192, found);
    expect([found[0], found[4_095], found[4_096], found[8_191]]).toEqual([6, 6, 5, 5]);
  });

  test("can be streamed sparsely", async () => {
    const file = memoryFile();
    const stream = await createVhdxStream(file, { sizeBytes: 64 * TIB });
    await stream.write(40 * TIB, new Uint8Array(MIB).fill(4));
    await stream.write(64 * TIB - MIB, new Uint8Array(MIB).fill(5));
    await stream.finish();
    const image = await openVhdx(file);
    const found = new Uint8Array(2);
    await image.read(40 * TIB + MIB - 1, found);
    expect([...found]).toEqual([4, 0]);
    await image.read(64 * TIB - 2, found);
    expect([...found]).toEqual([5, 5]);
  });
});
