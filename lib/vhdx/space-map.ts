const CHUNK_WORDS = 4_096;
const CHUNK_BITS = CHUNK_WORDS * 32;

/** Which MiB of a file are taken: one bit each, in chunks made when first used, so that sparse offsets cost little. */
export class SpaceMap {
  readonly #chunks = new Map<number, Uint32Array>();

  /** Takes `count` MiB from `start` on. False when one of them was taken before; the others are taken all the same. */
  claim(start: number, count: number): boolean {
    let isFree = true;
    for (let unit = start; unit < start + count; unit++) {
      const number = Math.floor(unit / CHUNK_BITS);
      let chunk = this.#chunks.get(number);
      if (chunk === undefined) {
        chunk = new Uint32Array(CHUNK_WORDS);
        this.#chunks.set(number, chunk);
      }
      const inChunk = unit - number * CHUNK_BITS;
      const word = chunk[inChunk >>> 5] ?? 0;
      const bit = 1 << (inChunk & 31);
      if ((word & bit) !== 0) isFree = false;
      chunk[inChunk >>> 5] = word | bit;
    }
    return isFree;
  }
}
