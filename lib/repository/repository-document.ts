import { createHash, createHmac, randomBytes, randomUUID, scrypt, timingSafeEqual } from "node:crypto";
import * as z from "zod";
import { BackupError } from "../errors/index.ts";
import { canonicalJson } from "./canonical-json.ts";
import { damaged } from "./damage.ts";
import { deriveMasterKeys, rawPublicKey, type MasterKeys } from "./keys.ts";
import { seal, unseal } from "./sealing.ts";

export const REPOSITORY_DOCUMENT = "repository.json";

const Base64 = z.string().regex(/^[A-Za-z0-9_-]+$/);
/** Limits keep a hostile document from asking for more memory than a machine has. */
const WrappedKey = z.object({
  kind: z.literal("passphrase"),
  scrypt: z.object({
    cost: z
      .int()
      .min(2 ** 14)
      .max(2 ** 20)
      .refine((cost) => Number.isInteger(Math.log2(cost)), "a power of two"),
    blockSize: z.literal(8),
    parallelization: z.literal(1),
  }),
  salt: Base64,
  sealed: Base64,
});

const Body = z.object({
  formatVersion: z.literal(1),
  repositoryId: z.uuid(),
  createdAt: z.iso.datetime(),
  chunkBytes: z
    .int()
    .min(4096)
    .max(4 * 1024 * 1024)
    .refine((size) => size % 4096 === 0),
  mapFanOut: z.int().min(16).max(4096),
  hash: z.literal("hmac-sha256"),
  openingPublicKey: Base64,
  signingPublicKey: Base64,
  wrappedKeys: z.array(WrappedKey).min(1).max(16),
});
const Document = Body.extend({ seal: Base64 });
export type RepositoryDocument = z.infer<typeof Document>;

/** 64 MiB and about a fifth of a second: what guessing one passphrase costs. */
const SCRYPT_COST = 2 ** 16;

export interface NewRepository {
  readonly passphrase: string;
  readonly chunkBytes: number;
  readonly mapFanOut: number;
  /** scrypt cost N, a power of two from 2^14; the default suits people's passphrases. */
  readonly scryptCost?: number;
}

/** A new repository's document and its keys. The passphrase is needed to restore; nobody can recover it. */
export async function makeDocument(
  options: NewRepository,
): Promise<{ bytes: Buffer; document: RepositoryDocument; keys: MasterKeys }> {
  const master = randomBytes(32);
  const keys = deriveMasterKeys(master);
  const salt = randomBytes(16);
  const parameters = { cost: options.scryptCost ?? SCRYPT_COST, blockSize: 8, parallelization: 1 } as const;
  const repositoryId = randomUUID();
  const wrapping = await stretch(options.passphrase, salt, parameters);
  const body = Body.parse({
    formatVersion: 1,
    repositoryId,
    createdAt: new Date().toISOString(),
    chunkBytes: options.chunkBytes,
    mapFanOut: options.mapFanOut,
    hash: "hmac-sha256",
    openingPublicKey: rawPublicKey(keys.openingKey).toString("base64url"),
    signingPublicKey: rawPublicKey(keys.signingKey).toString("base64url"),
    wrappedKeys: [
      {
        kind: "passphrase",
        scrypt: parameters,
        salt: salt.toString("base64url"),
        sealed: seal(wrapping, master, wrapContext(repositoryId)).toString("base64url"),
      },
    ],
  });
  const document = { ...body, seal: sealOf(body, keys.sealKey) };
  return { bytes: Buffer.from(canonicalJson(document)), document, keys };
}

/** @throws BackupError REPOSITORY_OBJECT_DAMAGED */
export function parseDocument(bytes: Uint8Array): RepositoryDocument {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (error) {
    throw damaged(REPOSITORY_DOCUMENT, "text", error);
  }
  const parsed = Document.safeParse(value);
  if (!parsed.success || !Buffer.from(canonicalJson(parsed.data)).equals(bytes))
    throw damaged(REPOSITORY_DOCUMENT, "content");
  return parsed.data;
}

/** @throws BackupError REPOSITORY_PASSPHRASE_WRONG, REPOSITORY_OBJECT_DAMAGED when the document was changed */
export async function openWithPassphrase(
  document: RepositoryDocument,
  passphrase: string,
): Promise<MasterKeys> {
  for (const wrapped of document.wrappedKeys) {
    const wrapping = await stretch(passphrase, Buffer.from(wrapped.salt, "base64url"), wrapped.scrypt);
    const master = unseal(
      wrapping,
      Buffer.from(wrapped.sealed, "base64url"),
      wrapContext(document.repositoryId),
    );
    if (master === undefined) continue;
    const keys = deriveMasterKeys(master);
    const { seal: given, ...body } = document;
    if (!isEqual(given, sealOf(body, keys.sealKey))) throw damaged(REPOSITORY_DOCUMENT, "seal");
    return keys;
  }
  throw new BackupError(
    "REPOSITORY_PASSPHRASE_WRONG",
    `the passphrase does not open repository ${document.repositoryId}; check it, there is no other way in`,
    { retry: "after-operator" },
  );
}

/**
 * What a writer relies on: identity, public keys and geometry. It stands in every exported key, so that a key of another
 * repository, or a document whose public key was swapped, is noticed before anything is written.
 */
export function fingerprintOf(document: RepositoryDocument): Buffer {
  const { repositoryId, openingPublicKey, signingPublicKey, chunkBytes, mapFanOut } = document;
  const text = canonicalJson({ repositoryId, openingPublicKey, signingPublicKey, chunkBytes, mapFanOut });
  return createHash("sha256")
    .update("gcb/1/fingerprint/")
    .update(text)
    .digest()
    .subarray(0, FINGERPRINT_BYTES);
}

export const FINGERPRINT_BYTES = 16;

function sealOf(body: z.infer<typeof Body>, sealKey: Buffer): string {
  return createHmac("sha256", sealKey).update(canonicalJson(body)).digest("base64url");
}

function isEqual(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

function wrapContext(repositoryId: string): Buffer {
  return Buffer.from(`gcb/1/master key/${repositoryId}`);
}

function stretch(
  passphrase: string,
  salt: Buffer,
  { cost, blockSize, parallelization }: z.infer<typeof WrappedKey>["scrypt"],
): Promise<Buffer> {
  const options = { cost, blockSize, parallelization, maxmem: 2 ** 31 - 1 };
  return new Promise((resolve, reject) => {
    scrypt(passphrase.normalize("NFKC"), salt, 32, options, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}
