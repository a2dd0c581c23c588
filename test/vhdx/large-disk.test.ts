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
