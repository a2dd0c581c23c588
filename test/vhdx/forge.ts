import { structureChecksum } from "../../lib/vhdx/crc32c.ts";
import { writeGuid } from "../../lib/vhdx/guid.ts";
import { encodeHeader, type Header } from "../../lib/vhdx/header.ts";
import {
  createDifferencing,
  createVhdx,
  memoryFile,
  openVhdx,
  openVhdxForWrite,
  type ByteFile,
} from "../../lib/vhdx/index.ts";
import { MIB } from "./disk-lab.ts";

/** Where the room's own writer puts things. */
export const AT = {
  headers: [65_536, 131_072],
  regionTables: [196_608, 262_144],
  log: MIB,
  metadata: 2 * MIB,
  bat: 3 * MIB,
} as const;

export const LOG_GUID = "0f0f0f0f-1111-2222-3333-444444444444";

/** A file whose bytes a test bends, with the checksums set right afterwards. */
export class Forgery {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }

  /** A dynamic disk of 8 MiB, blocks 0 and 2 present (at 4 and 5 MiB), 6 MiB long. */
  static async dynamic(): Promise<Forgery> {
    const file = memoryFile();
    await createVhdx(file, { kind: "dynamic", sizeBytes: 8 * MIB, blockBytes: MIB });
    const disk = await openVhdxForWrite(file);
    await disk.write(0, new Uint8Array(MIB).fill(1));
    await disk.write(2 * MIB, new Uint8Array(MIB).fill(2));
    await disk.close();
    return new Forgery(await bytesOf(file));
  }

  /** A child of such a disk with block 1 partially present at 4 MiB and the bitmap at 5 MiB. */
  static async differencing(): Promise<Forgery> {
    const parent = memoryFile((await Forgery.dynamic()).bytes);
    const image = await openVhdx(parent);
    const file = memoryFile();
    const absolutePath = "C:\\disks\\parent.vhdx";
    await createDifferencing(file, { image, relativePath: "parent.vhdx", absolutePath }, { blockBytes: MIB });
    const disk = await openVhdxForWrite(file, { parent: image });
    await disk.write(MIB, new Uint8Array(4_096).fill(3));
    await disk.close();
    return new Forgery(await bytesOf(file));
  }

  file(): ByteFile {
    return memoryFile(this.bytes);
  }

  /** Bends a header field in both headers. */
  headers(bend: (view: DataView) => void): this {
    for (const at of AT.headers) {
      const header = this.bytes.subarray(at, at + 4_096);
      bend(new DataView(header.buffer, header.byteOffset, header.length));
      this.view.setUint32(at + 4, structureChecksum(header), true);
    }
    return this;
  }

  /** Bends both region tables; entries of 32 bytes begin at 16. */
  regions(bend: (view: DataView, table: Uint8Array) => void): this {
    for (const at of AT.regionTables) {
      const table = this.bytes.subarray(at, at + 65_536);
      bend(new DataView(table.buffer, table.byteOffset, table.length), table);
      this.view.setUint32(at + 4, structureChecksum(table), true);
    }
    return this;
  }

  /** Bends the metadata region: the table's entries of 32 bytes begin at 32, items at 65536. */
  metadata(bend: (view: DataView, region: Uint8Array) => void): this {
    const region = this.bytes.subarray(AT.metadata, AT.metadata + MIB);
    bend(new DataView(region.buffer, region.byteOffset, region.length), region);
    return this;
  }

  bat(index: number, entry: bigint): this {
    this.view.setBigUint64(AT.bat + 8 * index, entry, true);
    return this;
  }

  /** Adds a region of another maker. */
  addRegion(id: string, offsetBytes: number, lengthBytes: number, isRequired: boolean): this {
    return this.regions((view, table) => {
      const count = view.getUint32(8, true);
      writeGuid(id, table, 16 + 32 * count);
      view.setBigUint64(16 + 32 * count + 16, BigInt(offsetBytes), true);
      view.setUint32(16 + 32 * count + 24, lengthBytes, true);
      view.setUint32(16 + 32 * count + 28, isRequired ? 1 : 0, true);
      view.setUint32(8, count + 1, true);
    });
  }

  /** Adds a metadata item: flags 1 IsUser, 2 IsVirtualDisk, 4 IsRequired. */
  addItem(id: string, offset: number, length: number, flags: number): this {
    return this.metadata((view, region) => {
      const count = view.getUint16(10, true);
      const at = 32 + 32 * count;
      writeGuid(id, region, at);
      view.setUint32(at + 16, offset, true);
      view.setUint32(at + 20, length, true);
      view.setUint32(at + 24, flags, true);
      view.setUint16(10, count + 1, true);
    });
  }

  /** Says in both headers that the log must be replayed. */
  dirty(): this {
    return this.headers((view) => {
      writeGuid(LOG_GUID, new Uint8Array(view.buffer, view.byteOffset, view.byteLength), 48);
    });
  }

  /** Puts an entry into the log, with its checksum. */
  log(at: number, entry: Uint8Array, isSealed = true): this {
    if (isSealed) new DataView(entry.buffer).setUint32(4, structureChecksum(entry), true);
    for (let index = 0; index < entry.length; index++) {
      this.bytes[AT.log + ((at + index) % MIB)] = entry[index] ?? 0;
    }
    return this;
  }

  headerWith(change: Partial<Header>, slot: 0 | 1): this {
    const header: Header = {
      sequenceNumber: 9n,
      fileWriteGuid: LOG_GUID,
      dataWriteGuid: LOG_GUID,
      logGuid: "00000000-0000-0000-0000-000000000000",
      logVersion: 0,
      version: 1,
      logLengthBytes: MIB,
      logOffsetBytes: MIB,
      ...change,
    };
    this.bytes.set(encodeHeader(header), AT.headers[slot]);
    return this;
  }
}

export async function bytesOf(file: ByteFile): Promise<Uint8Array> {
  const bytes = new Uint8Array(file.sizeBytes);
  await file.read(0, bytes);
  return bytes;
}

/** An entry as a hostile hand can write it: every field as told. */
export interface ForgedEntry {
  readonly sequence: bigint;
  readonly tail: number;
  readonly pages?: readonly { readonly offset: bigint; readonly bytes: Uint8Array }[];
  readonly zeros?: readonly { readonly offset: bigint; readonly length: bigint }[];
  readonly flushed?: bigint;
  readonly last?: bigint;
  readonly guid?: string;
}

const put = (bytes: Uint8Array, at: number, text: string): void => {
  bytes.set(new TextEncoder().encode(text), at);
};

export function forgedEntry(entry: ForgedEntry): Uint8Array {
  const pages = entry.pages ?? [];
  const zeros = entry.zeros ?? [];
  const count = pages.length + zeros.length;
  const area = Math.ceil((64 + 32 * count) / 4_096) * 4_096;
  const bytes = new Uint8Array(area + pages.length * 4_096);
  const view = new DataView(bytes.buffer);
  put(bytes, 0, "loge");
  view.setUint32(8, bytes.length, true);
  view.setUint32(12, entry.tail, true);
  view.setBigUint64(16, entry.sequence, true);
  view.setUint32(24, count, true);
  writeGuid(entry.guid ?? LOG_GUID, bytes, 32);
  view.setBigUint64(48, entry.flushed ?? 6n * 1_048_576n, true);
  view.setBigUint64(56, entry.last ?? 6n * 1_048_576n, true);
  zeros.forEach(({ offset, length }, index) => {
    const at = 64 + 32 * index;
    put(bytes, at, "zero");
    view.setBigUint64(at + 8, length, true);
    view.setBigUint64(at + 16, offset, true);
    view.setBigUint64(at + 24, entry.sequence, true);
  });
  pages.forEach((page, index) => {
    const at = 64 + 32 * (zeros.length + index);
    const sector = area + 4_096 * index;
    put(bytes, at, "desc");
    bytes.set(page.bytes.subarray(4_092), at + 4);
    bytes.set(page.bytes.subarray(0, 8), at + 8);
    view.setBigUint64(at + 16, page.offset, true);
    view.setBigUint64(at + 24, entry.sequence, true);
    bytes.set(page.bytes, sector);
    put(bytes, sector, "data");
    view.setUint32(sector + 4, Number(entry.sequence >> 32n), true);
    view.setUint32(sector + 4_092, Number(entry.sequence & 0xffff_ffffn), true);
  });
  return bytes;
}
