import { constants } from "node:fs";
import { open, readdir, type FileHandle } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { BackupError } from "../../errors/index.ts";
import { byteFileOf, openChain, type ByteFile, type DiskChain, type VirtualDisk } from "../../vhdx/index.ts";

export type DiskFormat = "raw" | "vhdx";

/** What all formats have in common: bytes, and where they may be other than zero. */
export type DiskContent = Pick<VirtualDisk, "sizeBytes" | "read" | "allocatedRanges">;

export type OpenDisk =
  | { readonly format: "raw"; readonly content: DiskContent }
  | { readonly format: "vhdx"; readonly content: DiskContent; readonly disk: DiskChain };

/**
 * Opens an image to read it, a VHDX file with all its parents. The handles close with `stack`.
 *
 * @param format found out by the signature, then by the extension, when it is not given
 */
export async function openDisk(
  path: string,
  format: DiskFormat | undefined,
  stack: AsyncDisposableStack,
): Promise<OpenDisk> {
  const file = await openForReading(path, stack);
  if ((format ?? (await formatOf(path, file))) === "raw") return { format: "raw", content: rawDisk(file) };
  const leafName = basename(path);
  const disk = await openChain(
    (name) => (name === leafName ? Promise.resolve(file) : openSibling(dirname(path), name, stack)),
    leafName,
  );
  return { format: "vhdx", content: disk, disk };
}

export async function openForReading(path: string, stack: AsyncDisposableStack): Promise<ByteFile> {
  return byteFileOf(stack.use(await openHandle(path, constants.O_RDONLY)));
}

/** A file that must not exist yet. */
export async function createFile(path: string, stack: AsyncDisposableStack): Promise<ByteFile> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  return byteFileOf(stack.use(await openHandle(path, flags)));
}

async function openHandle(path: string, flags: number): Promise<FileHandle> {
  try {
    return await open(path, flags);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new BackupError(
      "INPUT_INVALID",
      `The file cannot be opened: ${reason}. Check its name and rights.`,
      {
        facts: { path },
        cause,
      },
    );
  }
}

/**
 * Opens a parent in the child's folder. Windows does not tell upper from lower case, so one file that differs in case
 * only is taken as well. A symbolic link is not followed: it could lead out of the folder.
 */
async function openSibling(folder: string, name: string, stack: AsyncDisposableStack): Promise<ByteFile> {
  const names = await readdir(folder);
  const folded = names.filter((each) => each.toLowerCase() === name.toLowerCase());
  const found = names.includes(name) ? name : folded.length === 1 ? folded[0] : undefined;
  if (found === undefined) throw new Error(`no ${name}`);
  const handle = await open(join(folder, found), constants.O_RDONLY | constants.O_NOFOLLOW);
  return byteFileOf(stack.use(handle));
}

export async function formatOf(path: string, file: ByteFile): Promise<DiskFormat> {
  const signature = new Uint8Array(Math.min(8, file.sizeBytes));
  await file.read(0, signature);
  return String.fromCharCode(...signature) === "vhdxfile" ? "vhdx" : formatOfName(path);
}

/** Raw unless the extension says otherwise. */
export function formatOfName(path: string): DiskFormat {
  return [".vhdx", ".avhdx"].includes(extname(path).toLowerCase()) ? "vhdx" : "raw";
}

function rawDisk(file: ByteFile): DiskContent {
  return {
    sizeBytes: file.sizeBytes,
    read: (offsetBytes, target) => file.read(offsetBytes, target),
    async *allocatedRanges() {
      await Promise.resolve();
      if (file.sizeBytes > 0) yield { offsetBytes: 0, lengthBytes: file.sizeBytes };
    },
  };
}
