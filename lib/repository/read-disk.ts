import { chunkIdOf, type DiskInRepository } from "./backup-session.ts";
import type { ChunkPlace } from "./chunk-index.ts";
import { damaged, missing } from "./damage.ts";
import { depthOf, DiskMap, entryAt, nodeId, ID_BYTES, ZERO_ID } from "./disk-map.ts";
import { openContentKey, openFrame, packIdOf, packName } from "./pack.ts";
import type { Repository } from "./repository.ts";

export interface DiskPiece {
  readonly offsetBytes: number;
  readonly data: Buffer;
}

/** Frames of one pack that lie closer together than this are fetched in one request. */
const GAP_BYTES = 256 * 1024;
const FETCHES_AT_ONCE = 4;
/** Whole packs in memory; each is about PACK_TARGET_BYTES. */
const PACKS_KEPT = 8;

/**
 * Reads a disk out of the repository, ascending, without its zeros. Every chunk is authenticated and its id recomputed; a byte
 * that is not what was backed up ends in an error, never in data.
 *
 * @throws BackupError REPOSITORY_OBJECT_DAMAGED, REPOSITORY_OBJECT_MISSING naming the object; REPOSITORY_KEY_CANNOT_READ
 */
export async function* readDisk(
  repository: Repository,
  disk: DiskInRepository,
  signal: AbortSignal,
): AsyncGenerator<DiskPiece> {
  const reader = new ChunkReader(repository);
  await repository.index.refresh();
  const { chunkBytes, fanOut } = repository.maps.geometry;
  const map = new DiskMap(repository.maps, Buffer.from(disk.mapRoot, "hex"), disk.sizeBytes);
  for await (const leaf of leavesOf(map, repository, disk)) {
    signal.throwIfAborted();
    const entries = await map.entriesAt(0, leaf);
    const chunks = await reader.read(entries);
    for (const [index, chunk] of chunks) {
      const offsetBytes = (leaf * fanOut + index) * chunkBytes;
      yield { offsetBytes, data: chunk.subarray(0, Math.min(chunk.length, disk.sizeBytes - offsetBytes)) };
    }
  }
}

/** Indices of the leaves that hold anything, ascending; empty subtrees cost one look. */
async function* leavesOf(
  map: DiskMap,
  repository: Repository,
  disk: DiskInRepository,
): AsyncGenerator<number> {
  const { fanOut } = repository.maps.geometry;
  const walk = async function* (level: number, index: number): AsyncGenerator<number> {
    if ((await map.nodeIdAt(level, index)).equals(ZERO_ID)) return;
    if (level === 0) {
      yield index;
      return;
    }
    const entries = Buffer.from(await map.entriesAt(level, index));
    for (let child = 0; child < fanOut; child++) {
      if (!entryAt(entries, child).equals(ZERO_ID)) yield* walk(level - 1, index * fanOut + child);
    }
  };
  yield* walk(depthOf(disk.sizeBytes, repository.maps.geometry) - 1, 0);
}

class ChunkReader {
  readonly #repository: Repository;
  readonly #contentKeys = new Map<string, Buffer>();
  #rebuilt: Promise<void> | undefined;
  /** Whole packs, most recently used last. */
  readonly #cache = new Map<string, Uint8Array>();

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  /** The non-zero chunks of a leaf by their index in it, ascending. */
  async read(entries: Buffer): Promise<[number, Buffer][]> {
    const wanted: { readonly index: number; readonly place: ChunkPlace }[] = [];
    const { fanOut } = this.#repository.maps.geometry;
    for (let index = 0; index < fanOut; index++) {
      const id = entryAt(entries, index);
      if (id.equals(ZERO_ID)) continue;
      const place = this.#repository.index.find(id) ?? (await this.#findInPacks(id));
      wanted.push({ index, place });
    }
    const spans = spansOf(wanted.map(({ place }) => place));
    const found = new Map<ChunkPlace, Buffer>();
    for (let at = 0; at < spans.length; at += FETCHES_AT_ONCE) {
      const batch = spans.slice(at, at + FETCHES_AT_ONCE);
      for (const chunks of await Promise.all(batch.map((span) => this.#fetch(span)))) {
        for (const [place, chunk] of chunks) found.set(place, chunk);
      }
    }
    return wanted.map(({ index, place }) => {
      const chunk = found.get(place);
      if (chunk === undefined) throw missing(packName(place.packId));
      return [index, chunk];
    });
  }

  /** Where the index fails, the packs themselves say what they hold; read once per restore. */
  async #findInPacks(id: Buffer): Promise<ChunkPlace> {
    const { index } = this.#repository;
    this.#rebuilt ??= index.rebuild();
    await this.#rebuilt;
    const place = index.find(id);
    if (place !== undefined) return place;
    throw missing(`chunk ${id.toString("hex")} (in no pack)`);
  }

  async #fetch(places: readonly ChunkPlace[]): Promise<[ChunkPlace, Buffer][]> {
    const [first] = places;
    const last = places.at(-1);
    if (first === undefined || last === undefined) return [];
    const name = packName(first.packId);
    const lengthBytes = last.offsetBytes + last.storedBytes - first.offsetBytes;
    const { key, bytes } = await this.#span(first.packId, first.offsetBytes, lengthBytes);
    return Promise.all(
      places.map(async (place): Promise<[ChunkPlace, Buffer]> => {
        const at = place.offsetBytes - first.offsetBytes;
        const chunk = await openFrame(name, key, place, bytes.subarray(at, at + place.storedBytes));
        const id = chunkIdOf(this.#repository.writerKeys.chunkIdKey, chunk);
        if (!id.equals(place.chunkId)) throw damaged(name, `chunk at byte ${String(place.offsetBytes)}`);
        return [place, chunk];
      }),
    );
  }

  /**
   * Bytes of a pack and its content key. The first touch fetches the whole pack and checks it against its id, so that damage
   * anywhere in a pack that a restore needs is found; a pack that has left the cache since is read by ranges.
   */
  async #span(
    packId: string,
    offsetBytes: number,
    lengthBytes: number,
  ): Promise<{ key: Buffer; bytes: Uint8Array }> {
    const name = packName(packId);
    const cached = this.#cache.get(packId);
    const known = this.#contentKeys.get(packId);
    if (known !== undefined && cached === undefined) {
      const bytes = await this.#repository.store.get(name, { offsetBytes, lengthBytes });
      if (bytes === undefined) throw missing(name);
      return { key: known, bytes };
    }
    const pack = cached ?? (await this.#repository.store.get(name));
    if (pack === undefined) throw missing(name);
    if (known === undefined && packIdOf(pack) !== packId) throw damaged(name, "content");
    const key = known ?? openContentKey(name, pack, this.#repository.packKeys, this.#repository.openingKey);
    this.#contentKeys.set(packId, key);
    this.#keep(packId, pack);
    return { key, bytes: pack.subarray(offsetBytes, offsetBytes + lengthBytes) };
  }

  #keep(packId: string, pack: Uint8Array): void {
    this.#cache.delete(packId);
    this.#cache.set(packId, pack);
    for (const [oldest] of this.#cache) {
      if (this.#cache.size <= PACKS_KEPT) break;
      this.#cache.delete(oldest);
    }
  }
}

/** Groups places so that each group is one range of one pack. */
function spansOf(places: readonly ChunkPlace[]): ChunkPlace[][] {
  const sorted = [...new Set(places)].sort((a, b) =>
    a.packId < b.packId ? -1 : a.packId > b.packId ? 1 : a.offsetBytes - b.offsetBytes,
  );
  const spans: ChunkPlace[][] = [];
  for (const place of sorted) {
    const span = spans.at(-1);
    const last = span?.at(-1);
    const isNear =
      last?.packId === place.packId && place.offsetBytes - (last.offsetBytes + last.storedBytes) <= GAP_BYTES;
    if (span !== undefined && isNear) span.push(place);
    else spans.push([place]);
  }
  return spans;
}

/**
 * Recomputes the root of a disk's map from its content: equal roots mean equal disks. Memory holds one node per level.
 *
 * @param pieces ascending, not overlapping; what they leave out is zero
 * @throws RangeError when the pieces do not ascend
 */
export async function digestDisk(
  repository: Repository,
  sizeBytes: number,
  pieces: AsyncIterable<DiskPiece>,
): Promise<string> {
  const { geometry } = repository.maps;
  const { chunkBytes } = geometry;
  const key = repository.writerKeys.chunkIdKey;
  const tree = new TreeDigest(key, geometry.fanOut, depthOf(sizeBytes, geometry));
  const chunk = Buffer.alloc(chunkBytes);
  let chunkIndex = 0;
  let behind = 0;
  for await (const { offsetBytes, data } of pieces) {
    if (offsetBytes < behind) throw new RangeError("pieces of a disk must come in ascending order");
    behind = offsetBytes + data.length;
    for (let done = 0; done < data.length;) {
      const at = offsetBytes + done;
      const index = Math.floor(at / chunkBytes);
      if (index !== chunkIndex) {
        tree.put(0, chunkIndex, chunkIdOf(key, chunk));
        chunk.fill(0);
        chunkIndex = index;
      }
      const length = Math.min(data.length - done, (index + 1) * chunkBytes - at);
      data.copy(chunk, at - index * chunkBytes, done, done + length);
      done += length;
    }
  }
  tree.put(0, chunkIndex, chunkIdOf(key, chunk));
  return tree.root().toString("hex");
}

/** Builds a hash tree from ids in ascending order; a node is closed as soon as an id behind it comes. */
class TreeDigest {
  readonly #key: Buffer;
  readonly #fanOut: number;
  readonly #open: { index: number; readonly entries: Buffer }[];

  constructor(key: Buffer, fanOut: number, depth: number) {
    this.#key = key;
    this.#fanOut = fanOut;
    this.#open = Array.from({ length: depth }, () => ({
      index: 0,
      entries: Buffer.alloc(fanOut * ID_BYTES),
    }));
  }

  /** Puts an id at `position` among the entries of a level. */
  put(level: number, position: number, id: Buffer): void {
    if (id.equals(ZERO_ID)) return;
    const node = this.#open[level];
    if (node === undefined) throw new RangeError("a position lies behind the end of the disk");
    const index = Math.floor(position / this.#fanOut);
    if (index !== node.index) {
      this.#close(level);
      node.index = index;
    }
    id.copy(node.entries, (position % this.#fanOut) * ID_BYTES);
  }

  root(): Buffer {
    for (let level = 0; level < this.#open.length - 1; level++) this.#close(level);
    const top = this.#open.at(-1);
    return top === undefined ? ZERO_ID : nodeId(this.#key, this.#open.length - 1, top.entries);
  }

  #close(level: number): void {
    const node = this.#open[level];
    if (node === undefined) return;
    this.put(level + 1, node.index, nodeId(this.#key, level, node.entries));
    node.entries.fill(0);
  }
}
