import { BackupError } from "../errors/index.ts";
import { roundUp, viewOf, writeU64 } from "./bytes.ts";
import { placeBlocks } from "./create.ts";
import { bitmapIndexOf, geometryOf, STATE, type Geometry } from "./geometry.ts";
import { KIB, MAX_DISK_BYTES, MIB, REGION_TABLE_OFFSETS, SECTORS_PER_CHUNK } from "./layout.ts";
import { KNOWN_ITEMS } from "./metadata.ts";
import { BAT_REGION, encodeRegionTable, type Region } from "./region-table.ts";
import type { WriteSession } from "./write-session.ts";

const ZEROS = new Uint8Array(MIB);

/**
 * Makes a disk larger: by one log entry that changes its size, and the place of its BAT when that has to move. All
 * else is prepared where nothing points to yet, so a cut leaves the old size or the new one.
 *
 * @param change runs what writes; a failure in it leaves the session unusable
 */
export async function growDisk(
  session: WriteSession,
  sizeBytes: number,
  change: (work: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const { image } = session;
  const old = image.geometry;
  if (sizeBytes === old.diskBytes) return;
  refuseBadSize(session, sizeBytes);
  await change(async () => {
    await session.begin(true);
    await clearTail(session);
    const grown = geometryOf({ ...old, diskBytes: sizeBytes });
    const bat = await roomForBat(session, grown);
    if (image.kind === "fixed") {
      const added = (grown.payloadBlocks - old.payloadBlocks) * grown.blockBytes;
      const blocksAt = await session.extend(added);
      await placeBlocks(session.file, bat.region.offsetBytes, grown, old.payloadBlocks, blocksAt);
    }
    await writeSize(session, sizeBytes);
    if (bat.regionTable !== undefined) {
      for (const offset of REGION_TABLE_OFFSETS) await image.cache.write(offset, bat.regionTable);
    }
    await session.commit();
    image.batRegion = bat.region;
    image.useGeometry(grown);
  });
}

function refuseBadSize(session: WriteSession, sizeBytes: number): void {
  const { geometry, parent } = session.image;
  const reason =
    sizeBytes < geometry.diskBytes
      ? "it is smaller than the disk is"
      : sizeBytes > MAX_DISK_BYTES || sizeBytes % geometry.sectorBytes !== 0
        ? `it is no multiple of ${geometry.sectorBytes}, or above 64 TiB`
        : geometry.hasParent && (parent === undefined || parent.sizeBytes > geometry.diskBytes)
          ? "the parent is unknown or longer, and would show in the new part"
          : undefined;
  if (reason === undefined) return;
  throw new BackupError(
    "VHDX_GROW_REFUSED",
    `A disk of ${geometry.diskBytes} bytes cannot be made ${sizeBytes} bytes large: ${reason}.`,
    { facts: { sizeBytes, diskBytes: geometry.diskBytes } },
  );
}

/** What a last block holds behind the disk's end is anything; it becomes part of the disk, as zeros. */
async function clearTail(session: WriteSession): Promise<void> {
  const { image } = session;
  const { diskBytes, blockBytes, sectorBytes } = image.geometry;
  const inBlock = diskBytes % blockBytes;
  if (inBlock === 0) return;
  const block = Math.floor(diskBytes / blockBytes);
  const { state, offsetBytes } = await image.place(block);
  if (state === STATE.fullyPresent) {
    for (let at = inBlock; at < blockBytes; at += ZEROS.length) {
      await session.file.write(offsetBytes + at, ZEROS.subarray(0, Math.min(ZEROS.length, blockBytes - at)));
    }
  } else if (state === STATE.partiallyPresent) {
    const bitmap = await image.entry(bitmapIndexOf(image.geometry, block));
    const sectors = blockBytes / sectorBytes;
    const at = bitmap.offsetBytes + ((block * sectors) % SECTORS_PER_CHUNK) / 8;
    const bytes = new Uint8Array(sectors / 8);
    await image.cache.read(at, bytes);
    for (let bit = inBlock / sectorBytes; bit < sectors; bit++) {
      bytes[bit >>> 3] = (bytes[bit >>> 3] ?? 0) & ~(1 << (bit & 7));
    }
    await image.cache.write(at, bytes);
  }
}

/** Makes sure that a BAT has zeros for all new blocks: in its region, or in a longer copy at the file's end. */
async function roomForBat(
  session: WriteSession,
  grown: Geometry,
): Promise<{ readonly region: Region; readonly regionTable?: Uint8Array }> {
  const { image, file } = session;
  const region = image.batRegion;
  const usedBytes = image.geometry.batEntries * 8;
  const neededBytes = grown.batEntries * 8;
  if (neededBytes <= region.lengthBytes) {
    for (let at = usedBytes; at < neededBytes; at += ZEROS.length) {
      const part = ZEROS.subarray(0, Math.min(ZEROS.length, neededBytes - at));
      await file.write(region.offsetBytes + at, part);
    }
    image.cache.forget(region.offsetBytes + usedBytes, neededBytes - usedBytes);
    return { region };
  }
  const lengthBytes = roundUp(neededBytes, MIB);
  const offsetBytes = await session.extend(lengthBytes);
  const buffer = new Uint8Array(64 * KIB);
  for (let at = 0; at < usedBytes; at += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, usedBytes - at));
    await file.read(region.offsetBytes + at, part);
    await file.write(offsetBytes + at, part);
  }
  const regions = image.structure.regionTable.regions.map((each) =>
    each.id === BAT_REGION ? { ...each, offsetBytes, lengthBytes } : each,
  );
  return { region: { ...region, offsetBytes, lengthBytes }, regionTable: encodeRegionTable(regions) };
}

async function writeSize(session: WriteSession, sizeBytes: number): Promise<void> {
  const { structure, cache } = session.image;
  const item = structure.metadata.items.find((each) => !each.isUser && each.id === KNOWN_ITEMS.diskSize.id);
  if (item === undefined) throw new RangeError("an open disk has a size item");
  const bytes = new Uint8Array(8);
  writeU64(viewOf(bytes), 0, sizeBytes);
  await cache.write(structure.regionTable.metadata.offsetBytes + item.offsetBytes, bytes);
}
