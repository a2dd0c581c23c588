import { createPrivateKey, createPublicKey, hkdfSync, type KeyObject } from "node:crypto";

/*
 * Key hierarchy (docs/format/repository.md §2). Everything is derived from one master secret:
 *   master ─▶ opening key (X25519 private)      opens pack keys: needed to read content
 *          ─▶ signing key (Ed25519 private)     commits manifests: the control plane
 *          ─▶ seal key                          authenticates repository.json
 *          ─▶ writer key ─▶ chunk id key        names chunks
 *                        ─▶ catalog key         seals maps, index and pack directories
 */

/** DER prefixes that make a PKCS#8 private key of 32 raw bytes (RFC 8410 §7). */
const PKCS8 = {
  x25519: Buffer.from("302e020100300506032b656e04220420", "hex"),
  ed25519: Buffer.from("302e020100300506032b657004220420", "hex"),
} as const;

export interface WriterKeys {
  readonly writerKey: Buffer;
  readonly chunkIdKey: Buffer;
  readonly catalogKey: Buffer;
}

export interface MasterKeys extends WriterKeys {
  readonly openingKey: KeyObject;
  readonly signingKey: KeyObject;
  readonly signingSeed: Buffer;
  readonly sealKey: Buffer;
}

export function deriveMasterKeys(master: Buffer): MasterKeys {
  const signingSeed = derive(master, "manifest signing");
  return {
    ...deriveWriterKeys(derive(master, "writer")),
    openingKey: privateKey("x25519", derive(master, "pack opening")),
    signingKey: privateKey("ed25519", signingSeed),
    signingSeed,
    sealKey: derive(master, "repository seal"),
  };
}

export function deriveWriterKeys(writerKey: Buffer): WriterKeys {
  return { writerKey, chunkIdKey: derive(writerKey, "chunk id"), catalogKey: derive(writerKey, "catalog") };
}

export function signingKeyOf(seed: Buffer): KeyObject {
  return privateKey("ed25519", seed);
}

/** The raw 32 bytes of a public key (JWK member x). */
export function rawPublicKey(key: KeyObject): Buffer {
  const { x } = (key.type === "private" ? createPublicKey(key) : key).export({ format: "jwk" });
  return Buffer.from(x ?? "", "base64url");
}

export function publicKeyOf(kind: "X25519" | "Ed25519", raw: Buffer): KeyObject {
  return createPublicKey({ key: { kty: "OKP", crv: kind, x: raw.toString("base64url") }, format: "jwk" });
}

function privateKey(kind: keyof typeof PKCS8, seed: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8[kind], seed]), format: "der", type: "pkcs8" });
}

/** HKDF-SHA256 (RFC 5869) without salt; the info string names the purpose and the format version. */
export function derive(secret: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, Buffer.alloc(0), `gcb/1/${purpose}`, 32));
}
