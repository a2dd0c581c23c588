import { memoryFile, type ByteFile } from "../../lib/vhdx/index.ts";

/** One thing that reached a file, in the order in which it did; what was not written here never reached it. */
export type FileChange =
  | { readonly file: string; readonly kind: "write"; readonly offsetBytes: number; readonly data: Uint8Array }
  | { readonly file: string; readonly kind: "resize"; readonly sizeBytes: number };

/** A change, and how many flushes of its file had ended before it was made. */
export type TimedChange = FileChange & { readonly flushes: number };

/** A journal of changes and of what was promised at which moment, shared by the files of one test. */
export class CutJournal {
  readonly changes: TimedChange[] = [];
  #flushes = 0;

  /** The file itself, noting every change of it. */
  watch(name: string, file: ByteFile): ByteFile {
    const { changes } = this;
    return {
      get sizeBytes() {
        return file.sizeBytes;
      },
      read: (offsetBytes, target) => file.read(offsetBytes, target),
      write: (offsetBytes, data) => {
        changes.push({
          file: name,
          kind: "write",
          offsetBytes,
          data: Uint8Array.from(data),
          flushes: this.#flushes,
        });
        return file.write(offsetBytes, data);
      },
      flush: async () => {
        await file.flush();
        this.#flushes++;
      },
      resize: (sizeBytes) => {
        changes.push({ file: name, kind: "resize", sizeBytes, flushes: this.#flushes });
        return file.resize(sizeBytes);
      },
    };
  }
}

export async function applyChange(file: ByteFile, change: FileChange): Promise<void> {
  if (change.kind === "resize") await file.resize(change.sizeBytes);
  else await file.write(change.offsetBytes, change.data);
}

/** The first half of a change, cut at a sector of 512 bytes; undefined when it has no half. */
export function halfOf(change: FileChange): FileChange | undefined {
  if (change.kind === "resize" || change.data.length < 1_024) return undefined;
  const half = Math.floor(change.data.length / 1_024) * 512;
  return { ...change, data: change.data.subarray(0, half) };
}

export async function copyOf(file: ByteFile): Promise<ByteFile> {
  const bytes = new Uint8Array(file.sizeBytes);
  await file.read(0, bytes);
  return memoryFile(bytes);
}
