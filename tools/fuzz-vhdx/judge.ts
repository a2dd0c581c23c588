import { BackupError } from "../../lib/errors/index.ts";
import {
  checkVhdx,
  memoryFile,
  openVhdx,
  openVhdxForWrite,
  type ByteReader,
  type VhdxImage,
} from "../../lib/vhdx/index.ts";
import { isZero } from "../../lib/vhdx/bytes.ts";
import type { Random } from "./random.ts";

/** What no file may bring about. */
export class Find extends Error {
  override readonly name = "Find";
}

/** How a case ended: the refusal's code, or what could be done with the file. */
export type Outcome = string;

/** Reads of one case; a hostile file that costs more would stop a host. */
const MAX_READ_BYTES = 1_073_741_824;
const MAX_READS = 100_000;
const MIB = 1_048_576;

/** Opens, reads, maps, checks and now and then writes a file; throws a Find for anything but a refusal with a code. */
export async function judge(
  bytes: Uint8Array,
  parent: VhdxImage | undefined,
  random: Random,
): Promise<Outcome> {
  const options = parent === undefined ? {} : { parent };
  const refusal = await refusalOf(() => openVhdx(watched(bytes), options));
  const defects = await checkVhdx(watched(bytes));
  // `check` judges a file without its parents, so a wrong link is opening's own refusal.
  const isLink = refusal?.startsWith("VHDX_PARENT_") ?? false;
  const isBad = defects.some((each) => each.severity === "refuse");
  if (isBad !== (refusal !== undefined) && !isLink) {
    throw new Find(
      `opening says ${refusal ?? "good"}, check says ${defects.map((each) => each.code).join(", ") || "good"}`,
    );
  }
  if (refusal !== undefined && !isLink && !defects.some((each) => each.code === refusal)) {
    throw new Find(`check does not list ${refusal}`);
  }
  if (refusal !== undefined) return refusal;
  const image = await openVhdx(watched(bytes), options);
  await compareMapWithContent(image, random);
  if (random.isOneIn(4)) return writeAndReadBack(bytes, options, random);
  return "read";
}

/** Every byte is read of a small disk, some places of a large one; zeros wherever the map has nothing. */
async function compareMapWithContent(image: VhdxImage, random: Random): Promise<void> {
  let end = 0;
  const ranges: { readonly start: number; readonly end: number }[] = [];
  let count = 0;
  try {
    for await (const { offsetBytes, lengthBytes } of image.allocatedRanges()) {
      if (offsetBytes < end || lengthBytes <= 0 || offsetBytes + lengthBytes > image.sizeBytes) {
        throw new Find(`range ${offsetBytes}+${lengthBytes} behind ${end} in a disk of ${image.sizeBytes}`);
      }
      end = offsetBytes + lengthBytes;
      ranges.push({ start: offsetBytes, end });
      if (++count === 10_000) break;
    }
    const places = [
      0,
      image.sizeBytes - 65_536,
      ...Array.from({ length: 6 }, () => random.below(image.sizeBytes)),
    ];
    const length = image.sizeBytes <= 16 * MIB ? image.sizeBytes : 65_536;
    for (const place of length === image.sizeBytes ? [0] : places) {
      const at = Math.max(0, Math.min(place, image.sizeBytes - length));
      const content = new Uint8Array(length);
      await image.read(at, content);
      if (count === 10_000) continue;
      for (const range of ranges) content.fill(0, Math.max(0, range.start - at), Math.max(0, range.end - at));
      if (!isZero(content)) throw new Find(`content outside of the map near ${at}`);
    }
  } catch (error) {
    if (!isRefusal(error, "VHDX_PARENT_REQUIRED")) throw error;
  }
}

async function writeAndReadBack(
  bytes: Uint8Array,
  options: { readonly parent?: VhdxImage },
  random: Random,
): Promise<Outcome> {
  const file = memoryFile(bytes);
  const refusal = await refusalOf(async () => {
    const writer = await openVhdxForWrite(file, options);
    const at = random.below(writer.sizeBytes - 1_024);
    const data = new Uint8Array(1_024).fill(0xa5);
    await writer.write(at, data);
    await writer.close();
    const found = new Uint8Array(data.length);
    await (await openVhdx(file, options)).read(at, found);
    if (Buffer.compare(found, data) !== 0) throw new Find(`what was written at ${at} is not there`);
  });
  // Without a log nothing can be written; all else that opens can be written to.
  if (refusal !== undefined && refusal !== "VHDX_LOG_PLACE_INVALID" && refusal !== "VHDX_PARENT_REQUIRED") {
    throw new Find(`a file that opens cannot be written: ${refusal}`);
  }
  return "written";
}

async function refusalOf(work: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (isRefusal(error)) return error.code;
    throw error;
  }
}

function isRefusal(error: unknown, code?: string): error is BackupError {
  if (!(error instanceof BackupError) || !error.code.startsWith("VHDX_")) return false;
  return error.code !== "VHDX_RANGE_INVALID" && (code === undefined || error.code === code);
}

/** A file that reports reads outside of it, and too many of them. */
function watched(bytes: Uint8Array): ByteReader {
  let readBytes = 0;
  let reads = 0;
  return {
    sizeBytes: bytes.length,
    read(offsetBytes, target) {
      readBytes += target.length;
      reads++;
      const end = offsetBytes + target.length;
      if (!Number.isInteger(offsetBytes) || offsetBytes < 0 || end > bytes.length) {
        throw new Find(`read of ${target.length} bytes at ${offsetBytes} in a file of ${bytes.length}`);
      }
      if (readBytes > MAX_READ_BYTES || reads > MAX_READS) {
        throw new Find(`${reads} reads of ${readBytes} bytes in a file of ${bytes.length}`);
      }
      target.set(bytes.subarray(offsetBytes, end));
      return Promise.resolve();
    },
  };
}
