import type { ByteFile } from "./byte-file.ts";
import { encodeHeader, type CurrentHeader, type Header } from "./header.ts";
import { HEADER_OFFSETS } from "./layout.ts";

/** Changes headers so that at every moment one of the two is whole ([MS-VHDX] §2.2.2.1). */
export class HeaderWriter {
  readonly #file: ByteFile;
  #current: CurrentHeader;

  constructor(file: ByteFile, current: CurrentHeader) {
    this.#file = file;
    this.#current = current;
  }

  get header(): Header {
    return this.#current.header;
  }

  get slot(): 0 | 1 {
    return this.#current.slot;
  }

  /** Writes the non-current slot, flushes, and does the same to the other, so that both say the same. */
  async update(change: Partial<Header>): Promise<void> {
    for (let copy = 0; copy < 2; copy++) {
      const header = { ...this.header, ...change, sequenceNumber: this.header.sequenceNumber + 1n };
      const slot = this.#current.slot === 0 ? 1 : 0;
      await this.#file.write(HEADER_OFFSETS[slot], encodeHeader(header));
      await this.#file.flush();
      this.#current = { header, slot };
    }
  }
}
