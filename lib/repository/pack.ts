import {
  createHash,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  randomBytes,
  type KeyObject,
} from "node:crypto";
import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";
import { damaged } from "./damage.ts";
import { publicKeyOf, rawPublicKey } from "./keys.ts";
import { decrypt, encrypt, seal, SEAL_OVERHEAD_BYTES, unseal } from "./sealing.ts";

/*
 * A pack (docs/format/repository.md §4): magic, ephemeral X25519 public key, sealed content key, chunk frames, sealed directory,
 * footer. Its id is the SHA-256 of all its bytes. Whoever writes it forgets the content key: only the holder of the repository's
 * opening key can read the chunks again, while the directory can be read by every writer.
 */

const MAGIC = Buffer.from("gcbpack1", "latin1");
const END = Buffer.from("gcbpend1", "latin1");
const PUBLIC_BYTES = 32;
const SEALED_KEY_BYTES = 32 + SEAL_OVERHEAD_BYTES;
export const PACK_HEADER_BYTES = MAGIC.length + PUBLIC_BYTES + SEALED_KEY_BYTES;
const FOOTER_BYTES = 4 + END.length;
/** The largest chunk size that a repository may have. */
const MOST_CHUNK_BYTES = 4 * 1024 * 1024;
const ENTRY_BYTES = 32 + 4 + 4 + 4 + 1;

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

/** One chunk as a pack's directory lists it; its place in the directory is its ordinal. */
export interface PackEntry {
  readonly chunkId: Buffer;
  readonly ordinal: number;
  readonly offsetBytes: number;
  readonly storedBytes: number;
  readonly plainBytes: number;
  readonly isCompressed: boolean;
}

export interface FinishedPack {
  readonly id: string;
  readonly bytes: Buffer;
  readonly entries: readonly PackEntry[];
}

export interface PackKeys {
  readonly repositoryId: string;
  /** The repository's X25519 public key, raw. */
  readonly publicKey: Buffer;
  readonly catalogKey: Buffer;
}

/** Collects chunks for one pack in memory. */
export class PackBuilder {
  readonly #keys: PackKeys;
  readonly #contentKey = randomBytes(32);
  readonly #header: Buffer;
  readonly #frames: Buffer[] = [];
  readonly #entries: PackEntry[] = [];
  #size = PACK_HEADER_BYTES;

  constructor(keys: PackKeys) {
    this.#keys = keys;
    const ephemeral = generateKeyPairSync("x25519");
    const ephemeralPublic = rawPublicKey(ephemeral.publicKey);
    const shared = diffieHellman({
      privateKey: ephemeral.privateKey,
      publicKey: publicKeyOf("X25519", keys.publicKey),
    });
    const wrapping = wrappingKey(shared, ephemeralPublic, keys.publicKey);
    this.#header = Buffer.concat([
      MAGIC,
      ephemeralPublic,
      seal(wrapping, this.#contentKey, keyContext(keys.repositoryId)),
    ]);
  }

  get sizeBytes(): number {
    return this.#size;
  }

  get count(): number {
    return this.#entries.length;
  }

  /** Adds a compressed chunk; frames stand in the order in which they were added. */
  add(chunkId: Buffer, { payload, isCompressed, plainBytes }: PackedChunk): void {
    const ordinal = this.#entries.length;
    const frame = encrypt(this.#contentKey, nonceOf(ordinal), payload, frameContext(chunkId, isCompressed));
    this.#entries.push({
      chunkId,
      ordinal,
      offsetBytes: this.#size,
      storedBytes: frame.length,
      plainBytes,
      isCompressed,
    });
    this.#frames.push(frame);
    this.#size += frame.length;
  }

  finish(): FinishedPack {
    const directory = seal(
      this.#keys.catalogKey,
      writeDirectory(this.#entries),
      directoryContext(this.#header),
    );
    const footer = Buffer.alloc(FOOTER_BYTES);
    footer.writeUInt32LE(directory.length, 0);
    END.copy(footer, 4);
    const bytes = Buffer.concat([this.#header, ...this.#frames, directory, footer]);
    this.#contentKey.fill(0);
    return { id: packIdOf(bytes), bytes, entries: this.#entries };
  }
}

export interface PackedChunk {
  readonly payload: Uint8Array;
  readonly isCompressed: boolean;
  readonly plainBytes: number;
}

/** zstd, or the chunk itself when that does not shrink it. */
export async function packChunk(plain: Uint8Array): Promise<PackedChunk> {
  const compressed = await compress(plain);
  const isCompressed = compressed.length < plain.length;
  return { payload: isCompressed ? compressed : plain, isCompressed, plainBytes: plain.length };
}

export function packIdOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export function packName(id: string): string {
  return `packs/${id.slice(0, 2)}/${id}`;
}

/** Opens the content key of a pack from its first PACK_HEADER_BYTES. @throws BackupError REPOSITORY_OBJECT_DAMAGED */
export function openContentKey(
  name: string,
  header: Uint8Array,
  keys: PackKeys,
  openingKey: KeyObject,
): Buffer {
  const buffer = Buffer.from(header);
  if (buffer.length < PACK_HEADER_BYTES || !buffer.subarray(0, MAGIC.length).equals(MAGIC))
    throw damaged(name, "header");
  const ephemeralPublic = buffer.subarray(MAGIC.length, MAGIC.length + PUBLIC_BYTES);
  const shared = sharedSecret(name, openingKey, ephemeralPublic);
  const sealedKey = buffer.subarray(MAGIC.length + PUBLIC_BYTES, PACK_HEADER_BYTES);
  const key = unseal(
    wrappingKey(shared, ephemeralPublic, keys.publicKey),
    sealedKey,
    keyContext(keys.repositoryId),
  );
  if (key === undefined) throw damaged(name, "sealed key");
  return key;
}

/** Opens one chunk frame; the caller checks the chunk id against the content. @throws BackupError REPOSITORY_OBJECT_DAMAGED */
export async function openFrame(
  name: string,
  contentKey: Buffer,
  entry: PackEntry,
  frame: Uint8Array,
): Promise<Buffer> {
  const context = frameContext(entry.chunkId, entry.isCompressed);
  const payload = decrypt(contentKey, nonceOf(entry.ordinal), frame, context);
  if (payload === undefined) throw damaged(name, `chunk at byte ${String(entry.offsetBytes)}`);
  if (!entry.isCompressed) return payload;
  return decompress(payload, { maxOutputLength: Math.min(entry.plainBytes, MOST_CHUNK_BYTES) }).catch(
    (error: unknown) => {
      throw damaged(name, `chunk at byte ${String(entry.offsetBytes)}`, error);
    },
  );
}

/** The directory of a whole pack. @throws BackupError REPOSITORY_OBJECT_DAMAGED */
export function readDirectory(name: string, pack: Uint8Array, catalogKey: Buffer): PackEntry[] {
  const bytes = Buffer.from(pack.buffer, pack.byteOffset, pack.byteLength);
  const footerAt = bytes.length - FOOTER_BYTES;
  if (footerAt < PACK_HEADER_BYTES || !bytes.subarray(footerAt + 4).equals(END))
    throw damaged(name, "footer");
  const directoryAt = footerAt - bytes.readUInt32LE(footerAt);
  if (directoryAt < PACK_HEADER_BYTES) throw damaged(name, "footer");
  const context = directoryContext(bytes.subarray(0, PACK_HEADER_BYTES));
  const plain = unseal(catalogKey, bytes.subarray(directoryAt, footerAt), context);
  if (plain === undefined) throw damaged(name, "directory");
  return parseDirectory(plain);
}

export function writeDirectory(entries: readonly PackEntry[]): Buffer {
  const bytes = Buffer.alloc(entries.length * ENTRY_BYTES);
  entries.forEach((entry, index) => {
    const at = index * ENTRY_BYTES;
    entry.chunkId.copy(bytes, at);
    bytes.writeUInt32LE(entry.offsetBytes, at + 32);
    bytes.writeUInt32LE(entry.storedBytes, at + 36);
    bytes.writeUInt32LE(entry.plainBytes, at + 40);
    bytes.writeUInt8(entry.isCompressed ? 1 : 0, at + 44);
  });
  return bytes;
}

export function parseDirectory(bytes: Buffer): PackEntry[] {
  return Array.from({ length: Math.floor(bytes.length / ENTRY_BYTES) }, (_, ordinal) => {
    const at = ordinal * ENTRY_BYTES;
    return {
      chunkId: bytes.subarray(at, at + 32),
      ordinal,
      offsetBytes: bytes.readUInt32LE(at + 32),
      storedBytes: bytes.readUInt32LE(at + 36),
      plainBytes: bytes.readUInt32LE(at + 40),
      isCompressed: bytes.readUInt8(at + 44) === 1,
    };
  });
}

function sharedSecret(name: string, openingKey: KeyObject, ephemeralPublic: Buffer): Buffer {
  try {
    return diffieHellman({ privateKey: openingKey, publicKey: publicKeyOf("X25519", ephemeralPublic) });
  } catch (error) {
    throw damaged(name, "ephemeral key", error);
  }
}

function wrappingKey(shared: Buffer, ephemeralPublic: Buffer, publicKey: Buffer): Buffer {
  const salt = Buffer.concat([ephemeralPublic, publicKey]);
  return Buffer.from(hkdfSync("sha256", shared, salt, "gcb/1/pack key", 32));
}

function keyContext(repositoryId: string): Buffer {
  return Buffer.from(`gcb/1/pack key/${repositoryId}`);
}

function directoryContext(header: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from("gcb/1/pack directory/"), header]);
}

function frameContext(chunkId: Buffer, isCompressed: boolean): Buffer {
  return Buffer.concat([chunkId, Buffer.from([isCompressed ? 1 : 0])]);
}

/** The content key lives for one pack, so the ordinal is a nonce that is used once. */
function nonceOf(ordinal: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE(ordinal, 8);
  return nonce;
}
