import { open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { byteFileOf, openChain, type ByteFile, type DiskChain } from "../../vhdx/index.ts";

/**
 * Open files of one folder, closed together. A flush is not passed on to the machine's own disk: what the simulated host promises
 * is to survive the end of its process, and written bytes do that without it.
 */
export class FolderFiles implements AsyncDisposable {
  readonly #folder: string;
  readonly #handles: FileHandle[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  async open(name: string, flags: "r" | "r+" | "wx+"): Promise<ByteFile> {
    const handle = await open(join(this.#folder, name), flags);
    this.#handles.push(handle);
    return unflushed(await byteFileOf(handle));
  }

  /** A file with its parents, read only. */
  chain(leafName: string): Promise<DiskChain> {
    return openChain((name) => this.open(name, "r"), leafName);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const handle of this.#handles.splice(0)) await handle.close();
  }
}

function unflushed(file: ByteFile): ByteFile {
  return {
    get sizeBytes() {
      return file.sizeBytes;
    },
    read: (offsetBytes, target) => file.read(offsetBytes, target),
    write: (offsetBytes, data) => file.write(offsetBytes, data),
    flush: () => Promise.resolve(),
    resize: (sizeBytes) => file.resize(sizeBytes),
  };
}
