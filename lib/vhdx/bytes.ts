/** A DataView of exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * A u64 as `number`. Above 2^53 it is rounded, but stays above every bound of the format, so that a comparison refuses
 * it; multiples of 1 MiB are exact all the way up.
 */
export function readU64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

export function writeU64(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true);
}

export function ascii(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

export function putAscii(text: string, target: Uint8Array, at: number): void {
  for (let index = 0; index < text.length; index++) target[at + index] = text.charCodeAt(index);
}

const ZEROS = new Uint8Array(65_536);

/** Whether all bytes are zero; compares by memory blocks, several gigabytes a second. */
export function isZero(bytes: Uint8Array): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < buffer.length; at += ZEROS.length) {
    const end = Math.min(buffer.length, at + ZEROS.length);
    if (buffer[at] !== 0 || buffer.compare(ZEROS, 0, end - at, at, end) !== 0) return false;
  }
  return true;
}

const HOST_IS_LITTLE_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** Little-endian 32-bit words of a buffer that starts on a multiple of 4; a copy only on a big-endian host. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  if (HOST_IS_LITTLE_ENDIAN) return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
  const copy = Buffer.from(bytes).swap32();
  return new Uint32Array(Uint8Array.from(copy).buffer);
}

export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
