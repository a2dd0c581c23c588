import { createHmac } from "node:crypto";
import type { ByteRange, DiskSizes } from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";
import { planLeaves, type ChunkRun, type LeafPlan } from "./chunk-runs.ts";
import { DiskMap, ID_BYTES, writeTree, ZERO_ID } from "./disk-map.ts";
import type { DiskSource } from "./disk-source.ts";
import { PackBuilder, packChunk, packName, type FinishedPack } from "./pack.ts";
import { PACK_TARGET_BYTES, type Repository } from "./repository.ts";

/** How the changed bytes of a disk are known. */
export type DiskChanges =
  | { readonly kind: "full" }
  /** Everything is read; the repository recognises what it has. */
  | { readonly kind: "compare" }
  /** Ascending; may be too wide, never too narrow. `base` is the same disk, of the same size, in an older restore point. */
  | {
      readonly kind: "ranges";
      readonly ranges: AsyncIterable<ByteRange> | Iterable<ByteRange>;
      readonly base: DiskInRepository;
    };

export interface DiskInRepository {
  /** Hex root of the disk's map. */
  readonly mapRoot: string;
  readonly sizeBytes: number;
}

export interface DiskBackup {
  readonly disk: DiskSource;
  readonly changes: DiskChanges;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: { readonly doneBytes: number }) => void;
}

/** Index objects are written this often, so that a run that is cut re-uses what it had stored. */
const PACKS_PER_INDEX = 16;
const UPLOADS_AT_ONCE = 3;
/**
 * The index is held in memory, about 350 bytes a chunk: 3 GB at this size, which is 512 GiB of unique data in chunks of 64 KiB. The
 * limit is checked before anything is written, so that a repository never grows past what a restore can load.
 */
const MOST_CHUNKS = 8 * 1024 * 1024;
/** A chunk's entry in the pack's directory and again in the index. */
const DIRECTORY_BYTES = 2 * 45;

/**
 * One run's writing into a repository. Packs may hold chunks of several disks. Maps are written as they are made; nothing is
 * reachable until a manifest names it, so a session that dies leaves only objects that nobody names.
 */
export class BackupSession {
  readonly #repository: Repository;
  #pack: PackBuilder;
  /** Chunks in packs that are not stored yet: known to this session, not to anybody else. */
  readonly #pending = new Set<string>();
  readonly #uploads = new Set<Promise<void>>();
  #unindexed: FinishedPack[] = [];
  #failure: Error | undefined;

  private constructor(repository: Repository) {
    this.#repository = repository;
    this.#pack = new PackBuilder(repository.packKeys);
  }

  static async open(repository: Repository): Promise<BackupSession> {
    await repository.index.refresh();
    return new BackupSession(repository);
  }

  /** Stores one disk's changed chunks and its map. The root counts only after `finish`. */
  async backUp({
    disk,
    changes,
    signal,
    onProgress,
  }: DiskBackup): Promise<{ readonly mapRoot: string; readonly sizes: DiskSizes }> {
    const { maps } = this.#repository;
    const { chunkBytes } = maps.geometry;
    const base = changes.kind === "ranges" ? this.#openBase(changes.base, disk) : undefined;
    const sizes = {
      allocatedBytes: 0,
      changedBytes: 0,
      changedChunkBytes: 0,
      readBytes: 0,
      newChunkBytes: 0,
      uploadedBytes: 0,
    };
    for await (const { lengthBytes } of disk.allocatedRanges()) sizes.allocatedBytes += lengthBytes;
    const leaves = planLeaves(disk, changes.kind === "ranges" ? changes.ranges : null, maps.geometry, {
      onRange: (lengthBytes) => (sizes.changedBytes += lengthBytes),
    });
    const changed = new Map<number, Buffer>();
    for await (const plan of leaves) {
      signal.throwIfAborted();
      this.#insistOnRoom();
      const entries = Buffer.from(
        base === undefined
          ? Buffer.alloc(maps.geometry.fanOut * ID_BYTES)
          : await base.entriesAt(0, plan.leaf),
      );
      for (const run of plan.touched) {
        sizes.changedChunkBytes += Math.min(run.end * chunkBytes, disk.sizeBytes) - run.first * chunkBytes;
        clear(entries, plan, run, maps.geometry.fanOut);
      }
      for (const run of plan.allocated) await this.#storeRun(disk, run, plan, entries, sizes, signal);
      const { id, sentBytes } = await maps.write(0, entries);
      sizes.uploadedBytes += sentBytes;
      changed.set(plan.leaf, id);
      onProgress?.({ doneBytes: sizes.readBytes });
    }
    const mapRoot = await writeTree(
      maps,
      disk.sizeBytes,
      changed,
      base,
      (bytes) => (sizes.uploadedBytes += bytes),
    );
    return { mapRoot, sizes };
  }

  /** Stores what is left and the index. From here the roots that `backUp` gave may stand in a manifest. */
  async finish(): Promise<void> {
    if (this.#pack.count > 0) this.#closePack();
    await Promise.all(this.#uploads);
    this.#throwIfFailed();
    await this.#writeIndex();
  }

  #insistOnRoom(): void {
    const chunks = this.#repository.index.size + this.#pending.size;
    if (chunks <= MOST_CHUNKS) return;
    throw new BackupError(
      "REPOSITORY_FULL",
      `the repository holds ${String(chunks)} chunks, and this version keeps their index in memory; nothing was committed. ` +
        "Begin another repository for further guest clusters",
      { retry: "after-operator", facts: { chunks } },
    );
  }

  async #storeRun(
    disk: DiskSource,
    run: ChunkRun,
    plan: LeafPlan,
    entries: Buffer,
    sizes: { readBytes: number; newChunkBytes: number; uploadedBytes: number },
    signal: AbortSignal,
  ): Promise<void> {
    const { chunkBytes, fanOut } = this.#repository.maps.geometry;
    const offset = run.first * chunkBytes;
    const data = Buffer.alloc((run.end - run.first) * chunkBytes);
    const readBytes = Math.min(data.length, disk.sizeBytes - offset);
    await disk.read(offset, data.subarray(0, readBytes));
    sizes.readBytes += readBytes;
    const fresh: { readonly id: Buffer; readonly chunk: Buffer }[] = [];
    for (let index = run.first; index < run.end; index++) {
      const chunk = data.subarray((index - run.first) * chunkBytes, (index - run.first + 1) * chunkBytes);
      const id = chunkIdOf(this.#repository.writerKeys.chunkIdKey, chunk);
      id.copy(entries, (index - plan.leaf * fanOut) * ID_BYTES);
      if (!this.#isKnown(id)) {
        this.#pending.add(id.toString("latin1"));
        fresh.push({ id, chunk });
      }
    }
    const packed = await Promise.all(fresh.map(({ chunk }) => packChunk(chunk)));
    for (const [index, { id, chunk }] of fresh.entries()) {
      const content = packed[index];
      if (content === undefined) continue;
      this.#pack.add(id, content);
      sizes.newChunkBytes += chunk.length;
      sizes.uploadedBytes += content.payload.length + 16 + DIRECTORY_BYTES;
      if (this.#pack.sizeBytes >= PACK_TARGET_BYTES) {
        this.#closePack();
        await this.#backPressure(signal);
      }
    }
  }

  #isKnown(id: Buffer): boolean {
    return (
      id === ZERO_ID ||
      this.#pending.has(id.toString("latin1")) ||
      this.#repository.index.find(id) !== undefined
    );
  }

  #closePack(): void {
    const pack = this.#pack.finish();
    this.#pack = new PackBuilder(this.#repository.packKeys);
    const upload = this.#upload(pack)
      .catch((error: unknown) => {
        this.#failure ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => this.#uploads.delete(upload));
    this.#uploads.add(upload);
  }

  async #upload(pack: FinishedPack): Promise<void> {
    await this.#repository.store.put(packName(pack.id), pack.bytes, { ifAbsent: true });
    this.#unindexed.push({ ...pack, bytes: Buffer.alloc(0) });
    if (this.#unindexed.length >= PACKS_PER_INDEX) await this.#writeIndex();
  }

  async #writeIndex(): Promise<void> {
    const packs = this.#unindexed;
    this.#unindexed = [];
    await this.#repository.index.write(packs);
    for (const pack of packs) {
      this.#repository.index.add(pack);
      for (const { chunkId } of pack.entries) this.#pending.delete(chunkId.toString("latin1"));
    }
  }

  async #backPressure(signal: AbortSignal): Promise<void> {
    while (this.#uploads.size >= UPLOADS_AT_ONCE) await Promise.race(this.#uploads);
    this.#throwIfFailed();
    signal.throwIfAborted();
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #openBase(base: DiskInRepository, disk: DiskSource): DiskMap {
    if (base.sizeBytes !== disk.sizeBytes) {
      throw new BackupError(
        "INPUT_INVALID",
        `the disk has ${String(disk.sizeBytes)} bytes, its base ${String(base.sizeBytes)}: compare instead`,
      );
    }
    return new DiskMap(this.#repository.maps, Buffer.from(base.mapRoot, "hex"), base.sizeBytes);
  }
}

/** Keyed hash of a chunk; all zeros have the zero id and are never stored. */
export function chunkIdOf(chunkIdKey: Buffer, chunk: Buffer): Buffer {
  if (isAllZero(chunk)) return ZERO_ID;
  return createHmac("sha256", chunkIdKey).update(chunk).digest();
}

const ZEROS = Buffer.alloc(4 * 1024 * 1024);

function isAllZero(chunk: Buffer): boolean {
  return chunk.equals(ZEROS.subarray(0, chunk.length));
}

function clear(entries: Buffer, { leaf }: LeafPlan, run: ChunkRun, fanOut: number): void {
  entries.fill(0, (run.first - leaf * fanOut) * ID_BYTES, (run.end - leaf * fanOut) * ID_BYTES);
}
