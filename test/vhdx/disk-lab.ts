import type { ByteRange } from "../../lib/contracts/index.ts";
import {
  createDifferencing,
  createVhdx,
  memoryFile,
  mergeIntoParent,
  openChain,
  openVhdxForWrite,
  setParent,
  type ByteFile,
  type NewDiskOptions,
  type VirtualDisk,
  type WritableVirtualDisk,
  type WriteOptions,
} from "../../lib/vhdx/index.ts";

export const MIB = 1_048_576;

/** All of a disk's content. */
export async function contentOf(disk: VirtualDisk): Promise<Uint8Array> {
  const content = new Uint8Array(disk.sizeBytes);
  await disk.read(0, content);
  return content;
}

export async function rangesOf(ranges: AsyncIterable<ByteRange>): Promise<ByteRange[]> {
  const all: ByteRange[] = [];
  for await (const range of ranges) all.push(range);
  return all;
}

/** Index of the first byte that differs, -1 when there is none: says more than a comparison of megabytes. */
export function firstDifference(one: Uint8Array, other: Uint8Array): number {
  if (Buffer.compare(one, other) === 0) return -1;
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return at;
  return one.length;
}

/** Bytes that are not zero outside of the ranges that the disk says are allocated. */
export async function nonZeroOutsideAllocated(disk: VirtualDisk, content: Uint8Array): Promise<number> {
  const rest = Uint8Array.from(content);
  for await (const { offsetBytes, lengthBytes } of disk.allocatedRanges()) {
    rest.fill(0, offsetBytes, offsetBytes + lengthBytes);
  }
  return rest.reduce((count, byte) => (byte === 0 ? count : count + 1), 0);
}

/** A chain of disks in memory: the leaf is open for writing, the others lie still. */
export class DiskLab {
  readonly files = new Map<string, ByteFile>();
  readonly #options: WriteOptions;
  #made = 0;
  leafName = "disk-0.vhdx";
  leaf!: WritableVirtualDisk;

  constructor(options: WriteOptions = {}) {
    this.#options = options;
  }

  static async create(
    disk: NewDiskOptions & { readonly kind: "dynamic" | "fixed" },
    options?: WriteOptions,
  ): Promise<DiskLab> {
    const lab = new DiskLab(options);
    const file = memoryFile();
    await createVhdx(file, disk);
    lab.files.set(lab.leafName, file);
    await lab.reopen();
    return lab;
  }

  openChain(leafName = this.leafName) {
    return openChain((name) => {
      const file = this.files.get(name);
      return file === undefined ? Promise.reject(new Error(`no ${name}`)) : Promise.resolve(file);
    }, leafName);
  }

  /** Opens the leaf for writing, with its parents below it. */
  async reopen(): Promise<void> {
    const chain = await this.openChain();
    const parentName = chain.files[1];
    this.leaf = await openVhdxForWrite(this.file(this.leafName), {
      ...this.#options,
      ...(parentName === undefined ? {} : { parent: await this.openChain(parentName) }),
    });
  }

  /** Puts a new differencing disk on the leaf and goes on with it. */
  async checkpoint(blockBytes = MIB): Promise<void> {
    await this.leaf.close();
    const image = await this.openChain();
    const name = `disk-${++this.#made}.avhdx`;
    const file = memoryFile();
    const absolutePath = `C:\\disks\\${this.leafName}`;
    await createDifferencing(file, { image, relativePath: this.leafName, absolutePath }, { blockBytes });
    this.files.set(name, file);
    this.leafName = name;
    await this.reopen();
  }

  /** Merges the file at `depth` (0 is the leaf) into its parent; a child above it is tied to the parent. */
  async merge(depth: number): Promise<boolean> {
    const { files: names } = await this.openChain();
    const [child, parent, grandparent] = names.slice(depth);
    if (child === undefined || parent === undefined) return false;
    await this.leaf.close();
    await mergeIntoParent(
      this.file(child),
      this.file(parent),
      grandparent === undefined ? {} : { grandparent: await this.openChain(grandparent) },
    );
    this.files.delete(child);
    const above = names[depth - 1];
    if (above === undefined) this.leafName = parent;
    else {
      await setParent(this.file(above), { image: await this.openChain(parent), relativePath: parent });
    }
    await this.reopen();
    return true;
  }

  file(name: string): ByteFile {
    const file = this.files.get(name);
    if (file === undefined) throw new Error(`no ${name}`);
    return file;
  }
}
