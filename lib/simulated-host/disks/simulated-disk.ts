import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import {
  createDifferencing,
  mergeIntoParent,
  openVhdxForWrite,
  setParent,
  type WritableVirtualDisk,
} from "../../vhdx/index.ts";
import { FolderFiles } from "./folder-files.ts";
import { Gate } from "./gate.ts";

/** What a disk tells the host, which keeps it. Both calls are stable when they return. */
export interface DiskJournal {
  /** The guest's writes go to this file from now on. */
  setActiveFile(file: string): void;
  /** After a kill this file is deleted, unless a chain needs it. */
  addDisposable(file: string): void;
}

export interface DiskOptions {
  readonly folder: string;
  /** Base name for checkpoint files: `<stem>_<GUID>.avhdx`. */
  readonly stem: string;
  readonly activeFile: string;
  readonly journal: DiskJournal;
  /** Called before every write. */
  readonly onWrite: (offsetBytes: number, lengthBytes: number) => void;
}

/** The leaf is merged while the guest waits when it holds no more than this; else it gets one more file in front. */
const SMALL_LEAF_BYTES = 2 * 1_048_576;
/** A guest that writes faster than the merge is made to wait after so many rounds. */
const MAX_ROUNDS = 6;

/** A disk of a VM: a chain of VHDX files of which the guest writes the first, and which grows and shrinks under it. */
export class SimulatedDisk {
  readonly #options: DiskOptions;
  /** Closed while the chain changes: writes wait for a moment. */
  readonly gate = new Gate();
  #files: FolderFiles;
  #writer: WritableVirtualDisk;
  #chain: readonly string[];

  private constructor(options: DiskOptions, opened: OpenedLeaf) {
    this.#options = options;
    this.#files = opened.files;
    this.#writer = opened.writer;
    this.#chain = opened.chain;
  }

  static async open(options: DiskOptions): Promise<SimulatedDisk> {
    return new SimulatedDisk(options, await openLeaf(options.folder, options.activeFile));
  }

  get sizeBytes(): number {
    return this.#writer.sizeBytes;
  }
  get diskId(): string {
    return this.#writer.diskId;
  }
  /** File names, leaf first. */
  get chain(): readonly string[] {
    return this.#chain;
  }
  get activeFile(): string {
    return this.#chain[0] ?? "";
  }

  read(offsetBytes: number, target: Uint8Array): Promise<void> {
    return this.gate.pass(() => this.#writer.read(offsetBytes, target));
  }

  write(offsetBytes: number, data: Uint8Array): Promise<void> {
    return this.gate.pass(() => {
      this.#options.onWrite(offsetBytes, data.length);
      return this.#writer.write(offsetBytes, data);
    });
  }

  flush(): Promise<void> {
    return this.gate.pass(() => this.#writer.flush());
  }

  /** For a storage snapshot: the file holds everything, and the gate is closed by the caller. */
  flushWhileClosed(): Promise<void> {
    return this.#writer.flush();
  }

  /**
   * Prepares a new differencing file on top. The gate must be closed. Nothing counts until `commit`; after `commit` or `abandon`
   * the disk can be written again.
   */
  async prepareSwitch(): Promise<PreparedSwitch> {
    const previous = this.activeFile;
    const { folder, journal } = this.#options;
    const next = `${this.#options.stem}_${randomUUID().toUpperCase()}.avhdx`;
    journal.addDisposable(next);
    await this.#close();
    try {
      await using files = new FolderFiles(folder);
      const image = await files.chain(previous);
      await createDifferencing(await files.open(next, "wx+"), { image, relativePath: previous });
      await this.#reopen(next);
    } catch (error) {
      await this.#reopen(previous);
      throw error;
    }
    return {
      staticFile: previous,
      activeFile: next,
      abandon: async () => {
        await this.#close();
        await this.#reopen(previous);
        await rm(join(folder, next), { force: true });
      },
    };
  }

  /**
   * Brings everything down into the last file of the chain, while the guest goes on writing; it waits only when the chain changes.
   * At every cut the chain opens with unchanged content, and the merge can be begun again.
   *
   * @returns how many files were merged
   */
  async mergeAll(): Promise<number> {
    let merged = 0;
    for (let round = 0; this.#chain.length > 1; round++) {
      if (this.#chain.length > 2) await this.#mergeBelowLeaf();
      else if (round < MAX_ROUNDS && (await this.#leafHoldsMuch())) {
        await this.#whileClosed(async () => {
          const prepared = await this.prepareSwitch();
          this.#options.journal.setActiveFile(prepared.activeFile);
        });
        continue;
      } else await this.#mergeLeaf();
      merged++;
    }
    return merged;
  }

  async close(): Promise<void> {
    await this.gate.close();
    await this.#close();
  }

  /** Merges the file below the leaf, which lies still, and ties the leaf to what is below that. */
  async #mergeBelowLeaf(): Promise<void> {
    const { folder, journal } = this.#options;
    const [leaf, child, parent, grandparent] = this.#chain;
    if (leaf === undefined || child === undefined || parent === undefined) return;
    await using files = new FolderFiles(folder);
    await mergeIntoParent(await files.open(child, "r+"), await files.open(parent, "r+"), {
      ...(grandparent === undefined ? {} : { grandparent: await files.chain(grandparent) }),
    });
    journal.addDisposable(child);
    await this.#whileClosed(async () => {
      await this.#close();
      await using tying = new FolderFiles(folder);
      try {
        const image = await tying.chain(parent);
        await setParent(await tying.open(leaf, "r+"), { image, relativePath: parent });
      } finally {
        await this.#reopen(leaf);
      }
    });
    await rm(join(folder, child), { force: true });
  }

  /** Merges the leaf itself: the guest waits. */
  async #mergeLeaf(): Promise<void> {
    const { folder, journal } = this.#options;
    const [leaf, parent] = this.#chain;
    if (leaf === undefined || parent === undefined) return;
    await this.#whileClosed(async () => {
      await this.#close();
      try {
        await using files = new FolderFiles(folder);
        await mergeIntoParent(await files.open(leaf, "r+"), await files.open(parent, "r+"));
        journal.addDisposable(leaf);
        journal.setActiveFile(parent);
      } catch (error) {
        await this.#reopen(leaf); // a merge that was cut short leaves a chain that shows the same
        throw error;
      }
      await this.#reopen(parent);
    });
    await rm(join(folder, leaf), { force: true });
  }

  async #leafHoldsMuch(): Promise<boolean> {
    let bytes = 0;
    for await (const { lengthBytes } of this.#writer.ownRanges()) {
      bytes += lengthBytes;
      if (bytes > SMALL_LEAF_BYTES) return true;
    }
    return false;
  }

  async #whileClosed<T>(work: () => Promise<T>): Promise<T> {
    await this.gate.close();
    try {
      return await work();
    } finally {
      this.gate.open();
    }
  }

  async #close(): Promise<void> {
    await this.#writer.close();
    await this.#files[Symbol.asyncDispose]();
  }

  async #reopen(leaf: string): Promise<void> {
    const opened = await openLeaf(this.#options.folder, leaf);
    this.#files = opened.files;
    this.#writer = opened.writer;
    this.#chain = opened.chain;
  }
}

export interface PreparedSwitch {
  readonly staticFile: string;
  readonly activeFile: string;
  /** Goes back to the file that was written before; the gate must be closed. */
  abandon(): Promise<void>;
}

interface OpenedLeaf {
  readonly files: FolderFiles;
  readonly writer: WritableVirtualDisk;
  readonly chain: readonly string[];
}

async function openLeaf(folder: string, leaf: string): Promise<OpenedLeaf> {
  const files = new FolderFiles(folder);
  try {
    const { files: chain } = await files.chain(leaf);
    const [, parent] = chain;
    const writer = await openVhdxForWrite(
      await files.open(leaf, "r+"),
      parent === undefined ? {} : { parent: await files.chain(parent) },
    );
    return { files, writer, chain };
  } catch (error) {
    await files[Symbol.asyncDispose]();
    throw error;
  }
}
