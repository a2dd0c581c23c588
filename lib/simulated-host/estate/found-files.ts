import { readdirSync, statSync, type Dirent } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { zstdCompressSync, constants } from "node:zlib";
import type { WritableVirtualDisk } from "../../vhdx/index.ts";

/*
 * Real data for the shared disk: files of this machine, one after another on a 4 KiB grid. PACKED_SHARE of the bytes are such files
 * compressed, as archives and media are; the rest is stored as found (programs, libraries, scripts), which compresses well.
 * Fixed roots in fixed order and names sorted: the same machine gives the same disk.
 */

const PACKED_SHARE = 0.3;
const GRID_BYTES = 4096;
/** Smaller ones would fill the disk with the rest of the grid. */
const SMALLEST_FILE_BYTES = 16 * 1024;
const LARGEST_FILE_BYTES = 64 * 1_048_576;
const PIECE_BYTES = 4 * 1_048_576;

export interface FilledWith {
  readonly files: number;
  /** Bytes of files as they were found. */
  readonly plainBytes: number;
  /** Bytes of files that were compressed before they were stored. */
  readonly packedBytes: number;
}

/** Fills the first `sizeBytes` of a disk; less when the machine has too few files. */
export async function fillWithFoundFiles(disk: WritableVirtualDisk, sizeBytes: number): Promise<FilledWith> {
  let at = 0;
  let files = 0;
  let plainBytes = 0;
  let packedBytes = 0;
  const piece = new Uint8Array(PIECE_BYTES);
  const put = async (content: Uint8Array) => {
    for (let done = 0; done < content.length;) {
      const inPiece = (at + done) % PIECE_BYTES;
      const part = content.subarray(done, done + PIECE_BYTES - inPiece);
      piece.set(part, inPiece);
      done += part.length;
      if (inPiece + part.length === PIECE_BYTES) await writePiece(at + done);
    }
  };
  /** Writes what the piece holds up to the disk's byte `end`, and begins the next. */
  const writePiece = async (end: number) => {
    const start = Math.floor((end - 1) / PIECE_BYTES) * PIECE_BYTES;
    await disk.write(start, piece.subarray(0, end - start));
    piece.fill(0);
  };
  for (const path of findFiles(defaultRoots())) {
    if (at >= sizeBytes) break;
    const found = await readFile(path).catch(() => undefined); // vanished, or not ours to read
    if (found === undefined) continue;
    const isPacked = packedBytes < PACKED_SHARE * (plainBytes + packedBytes);
    const stored = (isPacked ? pack(found) : found).subarray(0, sizeBytes - at);
    await put(stored);
    files++;
    if (isPacked) packedBytes += stored.length;
    else plainBytes += stored.length;
    const next = Math.min(sizeBytes, Math.ceil((at + stored.length) / GRID_BYTES) * GRID_BYTES);
    const isNewPiece = Math.floor(next / PIECE_BYTES) > Math.floor((at + stored.length) / PIECE_BYTES);
    if (isNewPiece && (at + stored.length) % PIECE_BYTES !== 0) await writePiece(at + stored.length);
    at = next;
  }
  if (at % PIECE_BYTES !== 0) await writePiece(at);
  return { files, plainBytes, packedBytes };
}

function pack(content: Uint8Array): Uint8Array {
  return zstdCompressSync(content, { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
}

function defaultRoots(): string[] {
  return [...nodeModules(import.meta.dirname), dirname(process.execPath), "/usr/lib", "/usr/share"];
}

/** The node_modules folder that this program was installed with. */
function nodeModules(from: string): string[] {
  for (let folder = from; folder !== dirname(folder); folder = dirname(folder)) {
    const candidate = resolve(folder, "node_modules");
    if (statSync(candidate, { throwIfNoEntry: false })?.isDirectory() === true) return [candidate];
  }
  return [];
}

/** Regular files below the roots, depth first, names in code unit order; links are not followed. */
export function* findFiles(roots: readonly string[]): Generator<string> {
  for (const root of roots) yield* walk(root);
}

function* walk(folder: string): Generator<string> {
  let entries: Dirent[];
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return; // not ours to read
  }
  entries.sort((one, other) => (one.name < other.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else if (entry.isFile() && isUsable(statSync(path, { throwIfNoEntry: false })?.size ?? 0)) yield path;
  }
}

function isUsable(sizeBytes: number): boolean {
  return sizeBytes >= SMALLEST_FILE_BYTES && sizeBytes <= LARGEST_FILE_BYTES;
}
