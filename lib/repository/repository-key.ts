import { createHash } from "node:crypto";
import { BackupError } from "../errors/index.ts";
import { FINGERPRINT_BYTES, fingerprintOf } from "./repository-document.ts";
import type { Repository } from "./repository.ts";

/**
 * What opens a repository.
 * - passphrase: everything, restore included
 * - writer: adds backups and re-uses chunks, decrypts none (agents)
 * - control-plane: also commits manifests
 */
export type RepositoryKey =
  | { readonly kind: "passphrase"; readonly passphrase: string }
  | { readonly kind: "writer"; readonly fingerprint: Buffer; readonly writerKey: Buffer }
  | {
      readonly kind: "control-plane";
      readonly fingerprint: Buffer;
      readonly writerKey: Buffer;
      readonly signingSeed: Buffer;
    };

/** `gcbw1_…`: for agents. */
export function exportWriterKey(repository: Repository): string {
  return render(
    "gcbw1_",
    Buffer.concat([fingerprintOf(repository.document), repository.writerKeys.writerKey]),
  );
}

/** `gcbc1_…`: for the function app. @throws BackupError REPOSITORY_KEY_CANNOT_COMMIT */
export function exportControlPlaneKey(repository: Repository): string {
  const { document, writerKeys, signingSeed } = repository;
  return render("gcbc1_", Buffer.concat([fingerprintOf(document), writerKeys.writerKey, signingSeed]));
}

/** Reads what the two functions above printed. @throws BackupError REPOSITORY_KEY_INVALID, without the key's text */
export function parseKey(text: string): RepositoryKey {
  const trimmed = text.trim();
  const secret = Buffer.from(trimmed.slice(6), "base64url");
  const body = secret.subarray(0, -4);
  const isWhole = secret.subarray(-4).equals(checksum(body));
  const fingerprint = body.subarray(0, FINGERPRINT_BYTES);
  const keys = body.subarray(FINGERPRINT_BYTES);
  if (isWhole && trimmed.startsWith("gcbw1_") && keys.length === 32) {
    return { kind: "writer", fingerprint, writerKey: keys };
  }
  if (isWhole && trimmed.startsWith("gcbc1_") && keys.length === 64) {
    return {
      kind: "control-plane",
      fingerprint,
      writerKey: keys.subarray(0, 32),
      signingSeed: keys.subarray(32),
    };
  }
  throw new BackupError(
    "REPOSITORY_KEY_INVALID",
    "this is no repository key (gcbw1_… or gcbc1_…), or a part of it is missing",
    {
      retry: "after-operator",
    },
  );
}

function render(prefix: string, secret: Buffer): string {
  return prefix + Buffer.concat([secret, checksum(secret)]).toString("base64url");
}

function checksum(secret: Buffer): Buffer {
  return createHash("sha256").update("gcb key").update(secret).digest().subarray(0, 4);
}
