import { randomUUID } from "node:crypto";
import { link, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BackupError } from "../../errors/index.ts";
import type { ObjectStore, StoredObject } from "../object-store.ts";

const TEMPORARY = ".tmp-";

/**
 * Keeps objects as files below a folder. An object is written under a temporary name, flushed, and linked to its own name, so it
 * is there whole or not at all; `ifAbsent` is the link's own refusal, which holds between processes.
 */
export function directoryStore(folder: string): ObjectStore {
  const pathOf = (name: string) => join(folder, safeName(name));
  return {
    description: `directory ${folder}`,
    async put(name, bytes, { ifAbsent }) {
      const path = pathOf(name);
      await makeFolder(dirname(path));
      const temporary = join(dirname(path), `${TEMPORARY}${randomUUID()}`);
      try {
        await using file = await open(temporary, "wx");
        await file.writeFile(bytes);
        await file.sync();
        if (ifAbsent) await link(temporary, path);
        else await rename(temporary, path);
      } catch (error) {
        if (ifAbsent && isCode(error, "EEXIST")) return "exists";
        throw storeError(folder, `put ${name}`, error);
      } finally {
        await unlink(temporary).catch(ignoreMissing);
      }
      await syncFolder(dirname(path));
      return "created";
    },
    async get(name, range) {
      try {
        await using file = await open(pathOf(name), "r");
        const { size } = await file.stat();
        const offset = range?.offsetBytes ?? 0;
        const length = Math.max(0, Math.min(range?.lengthBytes ?? size, size - offset));
        const bytes = Buffer.alloc(length);
        for (let done = 0; done < length;) {
          const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
          if (bytesRead === 0) throw new Error(`${name} became shorter while it was read`);
          done += bytesRead;
        }
        return bytes;
      } catch (error) {
        if (isCode(error, "ENOENT") || isCode(error, "ENOTDIR")) return undefined;
        throw storeError(folder, `get ${name}`, error);
      }
    },
    async *list(prefix) {
      for (const name of await namesBelow(folder, prefix)) {
        const stats = await stat(join(folder, name)).catch(ignoreMissing);
        if (stats?.isFile() === true)
          yield { name, sizeBytes: stats.size, modifiedAt: stats.mtime } satisfies StoredObject;
      }
    },
    async remove(name) {
      await unlink(pathOf(name)).catch(ignoreMissing);
    },
  };
}

async function namesBelow(folder: string, prefix: string): Promise<string[]> {
  const start = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  const entries = await readdir(join(folder, start), { recursive: true }).catch(ignoreMissing);
  return (entries ?? [])
    .map((entry) => `${start}${entry.replaceAll("\\", "/")}`)
    .filter((name) => name.startsWith(prefix) && !name.includes(TEMPORARY))
    .sort();
}

/** @throws BackupError INPUT_INVALID for a name that could leave the folder */
function safeName(name: string): string {
  const isSafe =
    /^[A-Za-z0-9._/-]+$/.test(name) && name.split("/").every((part) => part !== "" && !part.startsWith("."));
  if (isSafe) return name;
  throw new BackupError("INPUT_INVALID", `"${name}" is not a name of a repository object`);
}

/** Makes a folder and flushes the name of each one that was new, so that a power cut does not take it away with its objects. */
async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true });
  for (
    let made = first === undefined ? "" : folder;
    made.length >= (first?.length ?? 1);
    made = dirname(made)
  ) {
    await syncFolder(dirname(made));
  }
}

function storeError(folder: string, what: string, cause: unknown): BackupError {
  if (cause instanceof BackupError) return cause;
  const isRefused = isCode(cause, "EACCES") || isCode(cause, "EPERM") || isCode(cause, "EROFS");
  const remedy = isRefused ? "check the rights of the folder" : "check the disk and its free space";
  return new BackupError(
    isRefused ? "STORE_REFUSED" : "STORE_UNAVAILABLE",
    `${what} in directory ${folder} failed: ${cause instanceof Error ? cause.message : String(cause)}; ${remedy}`,
    { retry: isRefused ? "after-operator" : "later", facts: { what }, cause },
  );
}

async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return; // folders cannot be flushed there; NTFS journals the name itself
  await using handle = await open(folder, "r");
  await handle.sync();
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

function ignoreMissing(error: unknown): undefined {
  if (isCode(error, "ENOENT")) return undefined;
  throw error;
}
