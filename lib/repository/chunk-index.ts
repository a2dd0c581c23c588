import { randomUUID } from "node:crypto";
import type { WriterKeys } from "./keys.ts";
import type { ObjectStore } from "./object-store.ts";
import { parseDirectory, readDirectory, writeDirectory, type PackEntry } from "./pack.ts";
import { seal, unseal } from "./sealing.ts";

/** Where a chunk lies. */
export interface ChunkPlace extends PackEntry {
  readonly packId: string;
}

interface PackDirectory {
  readonly id: string;
  readonly entries: readonly PackEntry[];
}

/**
 * Chunk id → place. Each backup adds one index object with the directories of its packs; all of them can be made anew from the
 * packs. (docs/format/repository.md §6)
 */
export class ChunkIndex {
  readonly #store: ObjectStore;
  readonly #keys: WriterKeys;
  readonly #places = new Map<string, ChunkPlace>();
  readonly #loaded = new Set<string>();
  readonly #damaged: string[] = [];

  constructor(store: ObjectStore, keys: WriterKeys) {
    this.#store = store;
    this.#keys = keys;
  }

  get size(): number {
    return this.#places.size;
  }

  find(chunkId: Buffer): ChunkPlace | undefined {
    return this.#places.get(keyOf(chunkId));
  }

  add({ id, entries }: PackDirectory): void {
    for (const entry of entries) this.#places.set(keyOf(entry.chunkId), { ...entry, packId: id });
  }

  /** Index objects that could not be opened. Their packs are not lost: `rebuild` finds what they held. */
  get damagedObjects(): readonly string[] {
    return this.#damaged;
  }

  /**
   * Reads the index objects that are not known yet. A damaged one is passed over: a writer then stores some chunks again, and a
   * reader rebuilds the index from the packs.
   */
  async refresh(): Promise<void> {
    for await (const { name } of this.#store.list("index/")) {
      if (this.#loaded.has(name)) continue;
      const sealed = await this.#store.get(name);
      if (sealed === undefined) continue; // collected meanwhile; its packs are in a newer one
      const plain = unseal(this.#keys.catalogKey, sealed, contextOf(name));
      if (plain === undefined) this.#damaged.push(name);
      else for (const directory of parse(plain)) this.add(directory);
      this.#loaded.add(name);
    }
  }

  /** Reads the directories of all packs instead of the index objects: what a lost index is made anew from. */
  async rebuild(): Promise<void> {
    for await (const { name } of this.#store.list("packs/")) {
      const bytes = await this.#store.get(name);
      if (bytes === undefined) continue;
      this.add({
        id: name.slice(name.lastIndexOf("/") + 1),
        entries: readDirectory(name, bytes, this.#keys.catalogKey),
      });
    }
  }

  /** Writes one index object. @returns the bytes sent */
  async write(packs: readonly PackDirectory[]): Promise<number> {
    if (packs.length === 0) return 0;
    const name = `index/${randomUUID()}`;
    const bytes = seal(this.#keys.catalogKey, render(packs), contextOf(name));
    await this.#store.put(name, bytes, { ifAbsent: true });
    this.#loaded.add(name);
    return bytes.length;
  }
}

/** Latin-1 keeps 32 bytes in 32 characters of one byte each. */
function keyOf(chunkId: Buffer): string {
  return chunkId.toString("latin1");
}

function contextOf(name: string): Buffer {
  return Buffer.from(`gcb/1/${name}`);
}

/** Per pack: 32-byte id, u32 length of its directory, the directory as in the pack. */
function render(packs: readonly PackDirectory[]): Buffer {
  return Buffer.concat(
    packs.flatMap(({ id, entries }) => {
      const directory = writeDirectory(entries);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(directory.length);
      return [Buffer.from(id, "hex"), length, directory];
    }),
  );
}

function* parse(bytes: Buffer): Generator<PackDirectory> {
  for (let at = 0; at < bytes.length;) {
    const id = bytes.subarray(at, at + 32).toString("hex");
    const length = bytes.readUInt32LE(at + 32);
    yield { id, entries: parseDirectory(bytes.subarray(at + 36, at + 36 + length)) };
    at += 36 + length;
  }
}
