import { readFile } from "node:fs/promises";
import { totalBytes } from "../changes/index.ts";
import { BackupError } from "../errors/index.ts";
import {
  BackupSession,
  digestDisk,
  openRepository,
  parseKey,
  readDisk,
  type DiskPiece,
  type ObjectStore,
} from "../repository/index.ts";
import type { RestoreSource } from "../restore/index.ts";
import type { VirtualDisk } from "../vhdx/index.ts";
import type { BackupTarget, DiskChanges, RepositoryPort } from "./repository-port.ts";

export interface RepositoryAccessOptions {
  /** Opens the store at a URL, which may carry a token. */
  readonly openStore: (url: string) => ObjectStore;
  /** File with the key that adds backups and reads none (`gcbw1_…`). */
  readonly writerKeyFile: string;
  /** File with the passphrase, only where disks may be restored. */
  readonly passphraseFile: string | undefined;
}

/** The repository as the agent reaches it: with the writer key for backups, with the passphrase for restores. */
export function repositoryAccess(options: RepositoryAccessOptions): RepositoryPort {
  const { openStore, writerKeyFile, passphraseFile } = options;
  return {
    async openForBackup(url): Promise<BackupTarget> {
      const key = parseKey(await readSecret(writerKeyFile));
      const repository = await openRepository(renewingStore(openStore, url), key);
      return {
        async backUpDisk({ disk, changes, signal, onProgress }) {
          // A session of its own: when it is finished, this disk is complete whatever becomes of the others.
          const session = await BackupSession.open(repository);
          const total = await bytesToRead(disk, changes);
          const { mapRoot, sizes } = await session.backUp({
            ...{ disk, changes, signal },
            onProgress: ({ doneBytes }) =>
              onProgress({ doneBytes: Math.min(doneBytes, total), totalBytes: total }),
          });
          await session.finish();
          return { mapRoot, sizes };
        },
      };
    },

    async openForRestore(url): Promise<RestoreSource> {
      if (passphraseFile === undefined) {
        throw new BackupError(
          "RESTORE_PASSPHRASE_MISSING",
          "this agent may not read the repository: its configuration has no restore.passphraseFile; add it or restore with gcb",
          { retry: "after-operator" },
        );
      }
      const passphrase = await readSecret(passphraseFile);
      const repository = await openRepository(renewingStore(openStore, url), {
        kind: "passphrase",
        passphrase,
      });
      return {
        readDisks: async (manifest) => (await repository.readManifest(manifest)).disks,
        readContent: ({ mapRoot, virtualSizeBytes }, signal) =>
          readDisk(repository, { mapRoot, sizeBytes: virtualSizeBytes }, signal),
        computeMapRoot: (disk, { signal, onProgress }) =>
          digestDisk(repository, disk.sizeBytes, piecesOf(disk, signal, onProgress)),
      };
    },
  };
}

async function bytesToRead(disk: VirtualDisk, changes: DiskChanges): Promise<number> {
  if (changes.kind === "ranges") return totalBytes(changes.ranges);
  let allocatedBytes = 0;
  for await (const { lengthBytes } of disk.allocatedRanges()) allocatedBytes += lengthBytes;
  return allocatedBytes;
}

/** A store whose URL changes on the way: the control plane sends a fresh token with every poll of the operation. */
function renewingStore(openStore: (url: string) => ObjectStore, url: () => string): ObjectStore {
  let opened = { url: url(), store: openStore(url()) };
  const now = (): ObjectStore => {
    const current = url();
    if (current !== opened.url) opened = { url: current, store: openStore(current) };
    return opened.store;
  };
  return {
    get description() {
      return opened.store.description;
    },
    put: (name, bytes, options) => now().put(name, bytes, options),
    get: (name, range) => now().get(name, range),
    list: (prefix) => now().list(prefix),
    remove: (name) => now().remove(name),
  };
}

const READ_BYTES = 4 * 1024 * 1024;

async function* piecesOf(
  disk: VirtualDisk,
  signal: AbortSignal,
  onProgress: (doneBytes: number) => void,
): AsyncGenerator<DiskPiece> {
  for await (const { offsetBytes, lengthBytes } of disk.allocatedRanges()) {
    for (let done = 0; done < lengthBytes; done += READ_BYTES) {
      signal.throwIfAborted();
      const data = Buffer.alloc(Math.min(READ_BYTES, lengthBytes - done));
      await disk.read(offsetBytes + done, data);
      yield { offsetBytes: offsetBytes + done, data };
      onProgress(offsetBytes + done + data.length);
    }
  }
}

/** @throws BackupError AGENT_CONFIG_INVALID when the file cannot be read */
export async function readSecret(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (cause) {
    throw new BackupError(
      "AGENT_CONFIG_INVALID",
      `the file ${file} named by the agent's configuration cannot be read: ${String(cause)}`,
      { retry: "after-operator", facts: { file }, cause },
    );
  }
}
