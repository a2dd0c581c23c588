const CHUNK_WORDS = 4_096;
const CHUNK_BITS = CHUNK_WORDS * 32;

/** Which MiB of a file are taken: one bit each, in chunks made when first used, so that sparse offsets cost little. */
export class SpaceMap {
  readonly #chunks = new Map<number, Uint32Array>();

  /** Takes `count` MiB from `start` on. False when one of them was taken before; the others are taken all the same. */
  claim(start: number, count: number): boolean {
    let isFree = true;
    const end = start + count;
    for (let unit = start; unit < end;) {
      const number = Math.floor(unit / CHUNK_BITS);
      const words = this.#chunk(number);
      const inChunk = unit - number * CHUNK_BITS;
      const bit = inChunk & 31;
      const taken = Math.min(32 - bit, end - unit);
      const mask = (taken === 32 ? 0xffff_ffff : ((1 << taken) - 1) << bit) >>> 0;
      const word = words[inChunk >>> 5] ?? 0;
      if ((word & mask) !== 0) isFree = false;
      words[inChunk >>> 5] = word | mask;
      unit += taken;
    }
    return isFree;
  }

  #chunk(number: number): Uint32Array {
    let words = this.#chunks.get(number);
    if (words === undefined) {
      words = new Uint32Array(CHUNK_WORDS);
      this.#chunks.set(number, words);
    }
    return words;
  }
}
