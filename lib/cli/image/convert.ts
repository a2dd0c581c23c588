import { rm } from "node:fs/promises";
import {
  copyAllocated,
  createVhdx,
  createVhdxStream,
  openVhdxForWrite,
  type ByteFile,
  type NewDiskOptions,
} from "../../vhdx/index.ts";
import { createFile, openDisk, type DiskFormat, type OpenDisk } from "./open-disk.ts";

export interface Conversion {
  readonly source: string;
  readonly sourceFormat: DiskFormat | undefined;
  readonly target: string;
  readonly targetFormat: DiskFormat;
  readonly kind: "dynamic" | "fixed";
  /** Default: the source's, when it is a VHDX file. */
  readonly blockBytes: number | undefined;
}

/** Copies an image into a new file of another format. A target that was not finished is removed. */
export async function convert(
  wanted: Conversion,
  signal: AbortSignal,
): Promise<{ virtualSizeBytes: number }> {
  await using stack = new AsyncDisposableStack();
  const source = await openDisk(wanted.source, wanted.sourceFormat, stack);
  const file = await createFile(wanted.target, stack);
  try {
    if (wanted.targetFormat === "raw") await toRaw(source, file, signal);
    else await toVhdx(source, file, wanted, signal);
  } catch (error) {
    await rm(wanted.target, { force: true });
    throw error;
  }
  return { virtualSizeBytes: source.content.sizeBytes };
}

async function toRaw(source: OpenDisk, file: ByteFile, signal: AbortSignal): Promise<void> {
  await file.resize(source.content.sizeBytes);
  await copyAllocated(source.content, (offsetBytes, data) => file.write(offsetBytes, data), { signal });
}

async function toVhdx(
  source: OpenDisk,
  file: ByteFile,
  wanted: Conversion,
  signal: AbortSignal,
): Promise<void> {
  const options = optionsFor(source, wanted);
  if (wanted.kind === "dynamic") {
    const stream = await createVhdxStream(file, options);
    await copyAllocated(source.content, (offsetBytes, data) => stream.write(offsetBytes, data), { signal });
    await stream.finish();
    return;
  }
  await createVhdx(file, { ...options, kind: "fixed" });
  const disk = await openVhdxForWrite(file);
  await copyAllocated(source.content, (offsetBytes, data) => disk.write(offsetBytes, data), { signal });
  await disk.close();
}

/** A raw image's last sector may be incomplete; on the VHDX disk zeros fill it up. */
function optionsFor(source: OpenDisk, wanted: Conversion): NewDiskOptions {
  const block = wanted.blockBytes === undefined ? {} : { blockBytes: wanted.blockBytes };
  if (source.format === "raw") {
    return { sizeBytes: Math.ceil(source.content.sizeBytes / 512) * 512, ...block };
  }
  const { sizeBytes, blockBytes, logicalSectorBytes, physicalSectorBytes, diskId } = source.disk;
  return { sizeBytes, blockBytes, logicalSectorBytes, physicalSectorBytes, diskId, ...block };
}
