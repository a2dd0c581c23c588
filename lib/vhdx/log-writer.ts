import type { ByteFile } from "./byte-file.ts";
import { NIL_GUID, type Guid } from "./guid.ts";
import type { HeaderWriter } from "./header-writer.ts";
import { encodeEntry, type LoggedPage } from "./log-entry.ts";

/**
 * Pages in one entry. They fit one descriptor sector, which is all that QEMU 7.2 replays; and two such entries fit
 * a log of 1 MiB, so that a new entry never touches the one that it replaces.
 */
export const PAGES_PER_ENTRY = 126;

/** Changes metadata through the log ([MS-VHDX] §2.3), each entry taking the place of the one before. */
export class LogWriter {
  readonly #file: ByteFile;
  readonly #headers: HeaderWriter;
  readonly #logGuid: Guid;
  #nextAt = 0;
  #nextSequence = 1n;
  #isOpen = false;

  constructor(file: ByteFile, headers: HeaderWriter, logGuid: Guid) {
    this.#file = file;
    this.#headers = headers;
    this.#logGuid = logGuid;
  }

  /**
   * Writes pages to the file by way of the log. Once this resolves the change survives any cut; up to 126 pages
   * (`PAGES_PER_ENTRY`) become visible all at once, more in several steps.
   *
   * Order: flush (payload that the pages point to, and pages of the entry before); entry; flush: here the change
   * is made; the pages at their place. Their flush is the first one of the next call, or of `close`.
   */
  async commit(pages: readonly LoggedPage[]): Promise<void> {
    if (pages.length === 0) {
      await this.#file.flush();
      return;
    }
    for (let done = 0; done < pages.length; done += PAGES_PER_ENTRY) {
      await this.#commitEntry(pages.slice(done, done + PAGES_PER_ENTRY));
    }
  }

  async #commitEntry(pages: readonly LoggedPage[]): Promise<void> {
    await this.#file.flush();
    const entry = encodeEntry(
      {
        tailAt: this.#nextAt, // everything older is in place and stable since the flush above
        sequenceNumber: this.#nextSequence,
        logGuid: this.#logGuid,
        flushedFileBytes: this.#file.sizeBytes,
        lastFileBytes: this.#file.sizeBytes,
      },
      pages,
    );
    await this.#writeToRing(entry);
    await this.#file.flush();
    if (!this.#isOpen) {
      // The entry came first: a LogGuid without a whole entry would make the file invalid (§2.3.3).
      await this.#headers.update({ logGuid: this.#logGuid });
      this.#isOpen = true;
    }
    this.#nextSequence += 1n;
    for (const page of pages) await this.#file.write(page.offsetBytes, page.bytes);
  }

  async #writeToRing(entry: Uint8Array): Promise<void> {
    const { logOffsetBytes, logLengthBytes } = this.#headers.header;
    const straight = Math.min(entry.length, logLengthBytes - this.#nextAt);
    await this.#file.write(logOffsetBytes + this.#nextAt, entry.subarray(0, straight));
    if (straight < entry.length) await this.#file.write(logOffsetBytes, entry.subarray(straight));
    this.#nextAt = (this.#nextAt + entry.length) % logLengthBytes;
  }

  /** Makes all pages stable at their places and marks the log as empty. */
  async close(): Promise<void> {
    await this.#file.flush();
    if (this.#isOpen) await this.#headers.update({ logGuid: NIL_GUID });
    this.#isOpen = false;
  }
}
