import { randomBytes } from "node:crypto";
import { open, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ByteRange } from "../../lib/contracts/index.ts";
import { byteFileOf, createVhdx, openVhdxForWrite } from "../../lib/vhdx/index.ts";

const REGION_BYTES = 64 * 1024;
const PIECE_BYTES = 1024 * 1024;
const ALLOCATED_SHARE = 0.65;

export interface Image {
  /** What restic and borg back up. */
  readonly raw: string;
  /** The same disk for this project. */
  readonly vhdx: string;
  readonly sizeBytes: number;
}

/** A disk image of files found on this machine: about two thirds allocated, compressible and not. The same content twice. */
export async function makeImage(folder: string, sizeBytes: number): Promise<Image> {
  const image = { raw: join(folder, "disk.raw"), vhdx: join(folder, "disk.vhdx"), sizeBytes };
  await using rawHandle = await open(image.raw, "w+");
  await rawHandle.truncate(sizeBytes);
  await using vhdxHandle = await open(image.vhdx, "w+");
  const file = await byteFileOf(vhdxHandle);
  await createVhdx(file, { kind: "dynamic", sizeBytes, blockBytes: 2 * 1024 * 1024 });
  const disk = await openVhdxForWrite(file);
  const until = Math.floor((sizeBytes * ALLOCATED_SHARE) / PIECE_BYTES) * PIECE_BYTES;
  let at = 0;
  for await (const piece of foundData()) {
    if (at >= until) break;
    await rawHandle.write(piece, 0, piece.length, at);
    await disk.write(at, piece);
    at += PIECE_BYTES;
  }
  await disk.close();
  await rawHandle.sync();
  return { ...image, sizeBytes };
}

/** Rewrites one in a hundred regions of 64 KiB with new data, in both files. @returns what changed, ascending */
export async function changeImage(image: Image): Promise<ByteRange[]> {
  const regions = Math.floor((image.sizeBytes * ALLOCATED_SHARE) / REGION_BYTES);
  const changes: ByteRange[] = [];
  await using rawHandle = await open(image.raw, "r+");
  await using vhdxHandle = await open(image.vhdx, "r+");
  const disk = await openVhdxForWrite(await byteFileOf(vhdxHandle));
  for (let region = 37; region < regions; region += 100) {
    const offsetBytes = region * REGION_BYTES;
    const half = randomBytes(REGION_BYTES / 2);
    const data = Buffer.concat([half, Buffer.alloc(REGION_BYTES / 2, half.subarray(0, 64))]);
    await rawHandle.write(data, 0, data.length, offsetBytes);
    await disk.write(offsetBytes, data);
    changes.push({ offsetBytes, lengthBytes: REGION_BYTES });
  }
  await disk.close();
  await rawHandle.sync();
  return changes;
}

/** Files of this machine cut into pieces of 1 MiB, then random data mixed with text when there are no more. */
async function* foundData(): AsyncGenerator<Buffer> {
  const roots = [
    dirname(process.execPath),
    join(import.meta.dirname, "../../node_modules"),
    "/usr/lib",
    "/usr/share",
  ];
  for (const root of roots) {
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
    const files = entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    for (const path of files.sort()) {
      await using handle = await open(path, "r").catch(() => undefined);
      if (handle === undefined) continue;
      const { size } = await handle.stat();
      for (let at = 0; at < size; at += PIECE_BYTES) {
        const piece = Buffer.alloc(PIECE_BYTES);
        await handle.read(piece, 0, Math.min(PIECE_BYTES, size - at), at);
        if (size >= PIECE_BYTES / 4) yield piece;
      }
    }
  }
  for (;;)
    yield Buffer.concat([
      randomBytes(PIECE_BYTES / 2),
      Buffer.alloc(PIECE_BYTES / 2, "the same words over and over "),
    ]);
}
