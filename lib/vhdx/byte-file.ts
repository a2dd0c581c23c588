import { BackupError } from "../errors/index.ts";

/** A file, blob or buffer that can be read at any byte. */
export interface ByteReader {
  readonly sizeBytes: number;
  /** Fills `target` exactly from `offsetBytes` on, or rejects. */
  read(offsetBytes: number, target: Uint8Array): Promise<void>;
}

/** A file that can be changed. Several reads and writes may be under way at once. */
export interface ByteFile extends ByteReader {
  /** Writes all of `data`; a write behind the end makes the file longer, with zeros between. */
  write(offsetBytes: number, data: Uint8Array): Promise<void>;
  /** Resolves when everything written before is stable, the file's length too. */
  flush(): Promise<void>;
  /** Cuts the file, or makes it longer with zeros. */
  resize(sizeBytes: number): Promise<void>;
}

/** The part of a `FileHandle` of node:fs/promises that this room uses; a handle opened for reading is enough to read. */
export interface FileHandleLike {
  stat(): Promise<{ readonly size: number }>;
  read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>;
  write(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesWritten: number }>;
  datasync(): Promise<void>;
  truncate(length: number): Promise<void>;
}

/** A byte file over an open handle. The handle stays the caller's to close; the size is read once, here. */
export async function byteFileOf(handle: FileHandleLike): Promise<ByteFile> {
  return new HandleFile(handle, (await handle.stat()).size);
}

class HandleFile implements ByteFile {
  readonly #handle: FileHandleLike;
  #sizeBytes: number;

  constructor(handle: FileHandleLike, sizeBytes: number) {
    this.#handle = handle;
    this.#sizeBytes = sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length;) {
      const { bytesRead } = await this.#handle.read(target, done, target.length - done, offsetBytes + done);
      if (bytesRead === 0) throw endOfFile(offsetBytes, target.length, this.#sizeBytes);
      done += bytesRead;
    }
  }

  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    for (let done = 0; done < data.length;) {
      const { bytesWritten } = await this.#handle.write(data, done, data.length - done, offsetBytes + done);
      done += bytesWritten;
    }
    this.#sizeBytes = Math.max(this.#sizeBytes, offsetBytes + data.length);
  }

  flush(): Promise<void> {
    return this.#handle.datasync();
  }

  async resize(sizeBytes: number): Promise<void> {
    await this.#handle.truncate(sizeBytes);
    this.#sizeBytes = sizeBytes;
  }
}

const PAGE_BYTES = 65_536;

/** A file in memory that spends nothing on ranges that were never written. */
export function memoryFile(initial?: Uint8Array): ByteFile {
  const file = new MemoryFile();
  if (initial !== undefined) file.put(0, initial);
  return file;
}

class MemoryFile implements ByteFile {
  readonly #pages = new Map<number, Uint8Array>();
  #sizeBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  read(offsetBytes: number, target: Uint8Array): Promise<void> {
    if (offsetBytes < 0 || offsetBytes + target.length > this.#sizeBytes) {
      return Promise.reject(endOfFile(offsetBytes, target.length, this.#sizeBytes));
    }
    for (const [page, inPage, at, length] of pagesOf(offsetBytes, target.length)) {
      const bytes = this.#pages.get(page);
      if (bytes === undefined) target.fill(0, at, at + length);
      else target.set(bytes.subarray(inPage, inPage + length), at);
    }
    return Promise.resolve();
  }

  write(offsetBytes: number, data: Uint8Array): Promise<void> {
    this.put(offsetBytes, data);
    return Promise.resolve();
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  resize(sizeBytes: number): Promise<void> {
    const lastPage = Math.floor(sizeBytes / PAGE_BYTES);
    for (const [page, bytes] of this.#pages) {
      if (page > lastPage) this.#pages.delete(page);
      else if (page === lastPage) bytes.fill(0, sizeBytes - page * PAGE_BYTES);
    }
    this.#sizeBytes = sizeBytes;
    return Promise.resolve();
  }

  put(offsetBytes: number, data: Uint8Array): void {
    for (const [page, inPage, at, length] of pagesOf(offsetBytes, data.length)) {
      let bytes = this.#pages.get(page);
      if (bytes === undefined) {
        bytes = new Uint8Array(PAGE_BYTES);
        this.#pages.set(page, bytes);
      }
      bytes.set(data.subarray(at, at + length), inPage);
    }
    this.#sizeBytes = Math.max(this.#sizeBytes, offsetBytes + data.length);
  }
}

/** [page number, offset in the page, offset in the request, length] for every page that a request touches. */
function* pagesOf(
  offsetBytes: number,
  lengthBytes: number,
): Generator<readonly [number, number, number, number]> {
  for (let done = 0; done < lengthBytes;) {
    const position = offsetBytes + done;
    const inPage = position % PAGE_BYTES;
    const length = Math.min(lengthBytes - done, PAGE_BYTES - inPage);
    yield [(position - inPage) / PAGE_BYTES, inPage, done, length];
    done += length;
  }
}

function endOfFile(offsetBytes: number, lengthBytes: number, sizeBytes: number): BackupError {
  return new BackupError(
    "VHDX_FILE_TOO_SHORT",
    `${lengthBytes} bytes at offset ${offsetBytes} lie behind the end of the file (${sizeBytes} bytes); ` +
      "the file is cut short, or was cut while it was read. Copy it again.",
    { facts: { offsetBytes, lengthBytes, sizeBytes } },
  );
}
