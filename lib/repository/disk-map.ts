import { createHmac } from "node:crypto";
import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";
import type { WriterKeys } from "./keys.ts";
import type { ObjectStore } from "./object-store.ts";
import { damaged, missing } from "./damage.ts";
import { seal, unseal } from "./sealing.ts";

/*
 * A disk map is a hash tree: leaves hold chunk ids in disk order, inner nodes hold the ids of the nodes below. The id of a node is
 * a keyed hash of its level and content, so the root with the disk's size is the digest of the whole disk. A node of nothing but
 * zero ids has the zero id itself and is not stored. (docs/format/repository.md §5)
 */

export const ID_BYTES = 32;
export const ZERO_ID = Buffer.alloc(ID_BYTES);

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

export interface MapGeometry {
  readonly chunkBytes: number;
  readonly fanOut: number;
}

/** How many levels the tree of a disk has; the root is at level depth - 1. At least 1. */
export function depthOf(sizeBytes: number, { chunkBytes, fanOut }: MapGeometry): number {
  let depth = 1;
  for (let covered = chunkBytes * fanOut; covered < sizeBytes; covered *= fanOut) depth++;
  return depth;
}

export function nodeId(chunkIdKey: Buffer, level: number, entries: Buffer): Buffer {
  if (isZero(entries)) return ZERO_ID;
  return createHmac("sha256", chunkIdKey)
    .update("gcb/1/map")
    .update(Buffer.from([level]))
    .update(entries)
    .digest();
}

export function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

export function mapName(id: Buffer): string {
  const hex = id.toString("hex");
  return `maps/${hex.slice(0, 2)}/${hex}`;
}

/** Reads and writes map nodes; every node read is checked against its id. */
export class MapStore {
  readonly #store: ObjectStore;
  readonly #keys: WriterKeys;
  readonly geometry: MapGeometry;

  constructor(store: ObjectStore, keys: WriterKeys, geometry: MapGeometry) {
    this.#store = store;
    this.#keys = keys;
    this.geometry = geometry;
  }

  idOf(level: number, entries: Buffer): Buffer {
    return nodeId(this.#keys.chunkIdKey, level, entries);
  }

  /** @returns its id, and the bytes that were sent; none when the store had it or it is all zero */
  async write(level: number, entries: Buffer): Promise<{ readonly id: Buffer; readonly sentBytes: number }> {
    const id = this.idOf(level, entries);
    if (id === ZERO_ID) return { id, sentBytes: 0 };
    const bytes = seal(this.#keys.catalogKey, await compress(entries), contextOf(id));
    const outcome = await this.#store.put(mapName(id), bytes, { ifAbsent: true });
    return { id, sentBytes: outcome === "created" ? bytes.length : 0 };
  }

  /** The entries of a node. @throws BackupError REPOSITORY_OBJECT_MISSING, REPOSITORY_OBJECT_DAMAGED */
  async read(level: number, id: Buffer): Promise<Buffer> {
    const lengthBytes = this.geometry.fanOut * ID_BYTES;
    if (id.equals(ZERO_ID)) return Buffer.alloc(lengthBytes);
    const name = mapName(id);
    const sealed = await this.#store.get(name);
    if (sealed === undefined) throw missing(name);
    const compressed = unseal(this.#keys.catalogKey, sealed, contextOf(id));
    if (compressed === undefined) throw damaged(name, "map node");
    const entries = await decompress(compressed, { maxOutputLength: lengthBytes }).catch((error: unknown) => {
      throw damaged(name, "map node", error);
    });
    if (entries.length !== lengthBytes || !this.idOf(level, entries).equals(id))
      throw damaged(name, "map node");
    return entries;
  }
}

/** The tree of one disk as it stands in the repository, with the nodes on the way to the last leaf kept in memory. */
export class DiskMap {
  readonly #nodes: MapStore;
  readonly #root: Buffer;
  readonly #depth: number;
  readonly #kept = new Map<number, { readonly index: number; readonly entries: Buffer }>();

  constructor(nodes: MapStore, root: Buffer, sizeBytes: number) {
    this.#nodes = nodes;
    this.#root = root;
    this.#depth = depthOf(sizeBytes, nodes.geometry);
  }

  /** The id of the node `index` at `level`; zero beyond the tree. Also right for levels above the root of a grown disk. */
  async nodeIdAt(level: number, index: number): Promise<Buffer> {
    if (level >= this.#depth - 1) return level === this.#depth - 1 && index === 0 ? this.#root : ZERO_ID;
    const { fanOut } = this.#nodes.geometry;
    const parent = await this.entriesAt(level + 1, Math.floor(index / fanOut));
    return entryAt(parent, index % fanOut);
  }

  /** The entries of the node `index` at `level`: ids of the level below, or of chunks at level 0. */
  async entriesAt(level: number, index: number): Promise<Buffer> {
    const kept = this.#kept.get(level);
    if (kept?.index === index) return kept.entries;
    const entries = await this.#readEntries(level, index);
    this.#kept.set(level, { index, entries });
    return entries;
  }

  async #readEntries(level: number, index: number): Promise<Buffer> {
    if (level < this.#depth) return this.#nodes.read(level, await this.nodeIdAt(level, index));
    // Above the root: the first entry is what lies below, everything else is beyond the old end of the disk.
    const entries = Buffer.alloc(this.#nodes.geometry.fanOut * ID_BYTES);
    if (index === 0) (await this.nodeIdAt(level - 1, 0)).copy(entries, 0);
    return entries;
  }
}

export function entryAt(entries: Buffer, index: number): Buffer {
  return entries.subarray(index * ID_BYTES, (index + 1) * ID_BYTES);
}

/**
 * Writes the tree above changed leaves.
 *
 * @param changed leaf index → new leaf id, ascending
 * @param base the tree whose other nodes are re-used; none for a first backup
 * @returns the root id in hex
 */
export async function writeTree(
  nodes: MapStore,
  sizeBytes: number,
  changed: ReadonlyMap<number, Buffer>,
  base: DiskMap | undefined,
  onSent: (bytes: number) => void,
): Promise<string> {
  const { fanOut } = nodes.geometry;
  const depth = depthOf(sizeBytes, nodes.geometry);
  let below = changed;
  for (let level = 1; level < depth; level++) {
    const next = new Map<number, Buffer>();
    const entriesOf = new Map<number, Buffer>();
    for (const [index, id] of below) {
      const parent = Math.floor(index / fanOut);
      let entries = entriesOf.get(parent);
      if (entries === undefined) {
        entries =
          base === undefined
            ? Buffer.alloc(fanOut * ID_BYTES)
            : Buffer.from(await base.entriesAt(level, parent));
        entriesOf.set(parent, entries);
      }
      id.copy(entries, (index % fanOut) * ID_BYTES);
    }
    for (const [index, entries] of entriesOf) {
      const { id, sentBytes } = await nodes.write(level, entries);
      onSent(sentBytes);
      next.set(index, id);
    }
    below = next;
  }
  const root = below.get(0) ?? (base === undefined ? ZERO_ID : await base.nodeIdAt(depth - 1, 0));
  return root.toString("hex");
}

function contextOf(id: Buffer): Buffer {
  return Buffer.concat([Buffer.from("gcb/1/map/"), id]);
}
