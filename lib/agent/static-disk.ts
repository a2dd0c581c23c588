import { constants } from "node:fs";
import { open, realpath } from "node:fs/promises";
import { isAbsolute, join, posix, relative, sep, win32 } from "node:path";
import { BackupError } from "../errors/index.ts";
import { byteFileOf, openChain, type VirtualDisk } from "../vhdx/index.ts";

/** A disk of the restore point, open for reading until disposed. */
export interface StaticDisk extends AsyncDisposable {
  readonly disk: VirtualDisk;
}

export interface ExposedVolume {
  readonly directory: string;
  readonly exposedAs: string;
}

export interface StaticDiskPort {
  /** Opens the chain whose leaf lay at `staticPath` when the storage snapshot was taken, from where that is exposed. */
  open(staticPath: string, volumes: readonly ExposedVolume[]): Promise<StaticDisk>;
}

export interface ExposedPath {
  /** Where the volume's files are. */
  readonly root: string;
  /** The leaf's folder, below `root` or the same. */
  readonly folder: string;
  readonly name: string;
}

/**
 * Where a live path is found inside the storage snapshot. Pure text: Windows paths compare without case, others as they are.
 *
 * @throws BackupError STATIC_DISK_INVALID when no volume of the storage snapshot holds the path, or it leaves the volume
 */
export function mapToExposed(path: string, volumes: readonly ExposedVolume[]): ExposedPath {
  const flavour = /^(?:[a-z]:|\\\\)/i.test(path) ? win32 : posix;
  const fold = (text: string) => (flavour === win32 ? text.toLowerCase() : text);
  const isClean =
    !path.split(/[\\/]/).some((part) => part === ".." || part === ".") && flavour.isAbsolute(path);
  const candidates = volumes
    .map((volume) => {
      const directory = flavour.normalize(volume.directory);
      return { volume, prefix: directory.endsWith(flavour.sep) ? directory : directory + flavour.sep };
    })
    .filter(({ prefix }) => fold(flavour.normalize(path)).startsWith(fold(prefix)))
    .sort((a, b) => b.prefix.length - a.prefix.length);
  const best = candidates[0];
  if (best === undefined || !isClean) {
    throw new BackupError(
      "STATIC_DISK_INVALID",
      `${path} does not lie in a volume of the storage snapshot; the host gave paths that do not fit together`,
      { facts: { path } },
    );
  }
  const parts = flavour.normalize(path).slice(best.prefix.length).split(flavour.sep);
  const name = parts.pop() ?? "";
  const root = best.volume.exposedAs;
  const local = flavour === win32 && process.platform === "win32" ? win32 : posix;
  return { root, folder: local.join(root, ...parts), name };
}

/** Reads from the file system; nothing outside the exposed folder is ever opened, whatever names and links the files hold. */
export const staticDiskFiles: StaticDiskPort = {
  async open(staticPath, volumes) {
    const { root, folder, name } = mapToExposed(staticPath, volumes);
    await using stack = new AsyncDisposableStack();
    const realFolder = await confined(staticPath, root, folder);
    const disk = await openChain(async (baseName) => {
      if (/[\\/]/.test(baseName) || baseName === "..") throw outside(staticPath, baseName);
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
      const handle = await open(join(realFolder, baseName), flags).catch((cause: unknown) => {
        // A parent that is missing is openChain's to report.
        throw baseName === name ? lost(staticPath, realFolder, cause) : cause;
      });
      stack.defer(() => handle.close());
      return byteFileOf(handle);
    }, name);
    const owned = stack.move();
    return { disk, [Symbol.asyncDispose]: () => owned.disposeAsync() };
  },
};

async function confined(staticPath: string, root: string, folder: string): Promise<string> {
  let real: readonly [string, string];
  try {
    real = await Promise.all([realpath(root), realpath(folder)]);
  } catch (cause) {
    throw lost(staticPath, folder, cause);
  }
  const [realRoot, realFolder] = real;
  const way = relative(realRoot, realFolder);
  if (isAbsolute(way) || way.split(sep)[0] === "..") throw outside(staticPath, realFolder);
  return realFolder;
}

function lost(staticPath: string, folder: string, cause: unknown): BackupError {
  return new BackupError(
    "STORAGE_SNAPSHOT_LOST",
    `${staticPath} cannot be read in the storage snapshot at ${folder}: ${String(cause)}; give the storage more room for snapshots`,
    { retry: "later", facts: { staticPath, folder }, cause },
  );
}

function outside(staticPath: string, found: string): BackupError {
  return new BackupError(
    "STATIC_DISK_INVALID",
    `the chain of ${staticPath} leaves its folder in the storage snapshot (${JSON.stringify(found)}); nothing was read`,
    { facts: { staticPath } },
  );
}
