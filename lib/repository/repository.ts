import { createPublicKey, type KeyObject } from "node:crypto";
import { RunRecord, type GuestClusterId, type RunId } from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";
import { ChunkIndex } from "./chunk-index.ts";
import { damaged } from "./damage.ts";
import { MapStore } from "./disk-map.ts";
import { deriveWriterKeys, publicKeyOf, signingKeyOf, type WriterKeys } from "./keys.ts";
import { manifestName, notFound, readManifest, writeManifest, type Manifest } from "./manifest.ts";
import type { ObjectStore } from "./object-store.ts";
import type { PackKeys } from "./pack.ts";
import type { RepositoryKey } from "./repository-key.ts";
import {
  fingerprintOf,
  makeDocument,
  openWithPassphrase,
  parseDocument,
  REPOSITORY_DOCUMENT,
  type NewRepository,
  type RepositoryDocument,
} from "./repository-document.ts";

export const DEFAULT_CHUNK_BYTES = 64 * 1024;
export const DEFAULT_MAP_FAN_OUT = 256;
/** Packs are closed when they have grown to this. */
export const PACK_TARGET_BYTES = 16 * 1024 * 1024;

interface HeldKeys {
  readonly writer: WriterKeys;
  readonly openingKey?: KeyObject;
  readonly signingKey?: KeyObject;
  readonly signingSeed?: Buffer;
}

/** An opened repository. What it can do depends on the key: write, commit manifests, read. */
export class Repository {
  readonly store: ObjectStore;
  readonly document: RepositoryDocument;
  readonly index: ChunkIndex;
  readonly maps: MapStore;
  readonly #keys: HeldKeys;

  constructor(store: ObjectStore, document: RepositoryDocument, keys: HeldKeys) {
    this.store = store;
    this.document = document;
    this.#keys = keys;
    this.index = new ChunkIndex(store, keys.writer);
    this.maps = new MapStore(store, keys.writer, {
      chunkBytes: document.chunkBytes,
      fanOut: document.mapFanOut,
    });
  }

  get id(): string {
    return this.document.repositoryId;
  }

  get writerKeys(): WriterKeys {
    return this.#keys.writer;
  }

  get packKeys(): PackKeys {
    const publicKey = Buffer.from(this.document.openingPublicKey, "base64url");
    return { repositoryId: this.id, publicKey, catalogKey: this.#keys.writer.catalogKey };
  }

  /** @throws BackupError REPOSITORY_KEY_CANNOT_READ */
  get openingKey(): KeyObject {
    if (this.#keys.openingKey !== undefined) return this.#keys.openingKey;
    throw new BackupError(
      "REPOSITORY_KEY_CANNOT_READ",
      "this key may write backups but not read them; restore with the passphrase",
      {
        retry: "after-operator",
      },
    );
  }

  /** @throws BackupError REPOSITORY_KEY_CANNOT_COMMIT */
  get signingSeed(): Buffer {
    if (this.#keys.signingSeed !== undefined) return this.#keys.signingSeed;
    throw cannotCommit();
  }

  /** Names of manifests, oldest first. */
  async listManifests(clusterId?: GuestClusterId): Promise<{ readonly name: string }[]> {
    const found: { name: string }[] = [];
    const prefix = clusterId === undefined ? "manifests/" : `manifests/${clusterId}/`;
    for await (const { name } of this.store.list(prefix)) found.push({ name });
    return found;
  }

  /** @throws BackupError RESTORE_POINT_UNKNOWN, REPOSITORY_OBJECT_DAMAGED */
  async readManifest(name: string): Promise<Manifest> {
    if (!/^manifests\/[a-z0-9-]+\/[a-z0-9.-]+$/.test(name)) throw notFound(name);
    const bytes = await this.store.get(name);
    if (bytes === undefined) throw notFound(name);
    return readManifest(name, bytes, this.id, this.#verificationKey);
  }

  /** The newest manifest of a guest cluster; a damaged one is an error, never skipped over in silence. */
  async latestManifest(
    clusterId: GuestClusterId,
  ): Promise<{ readonly name: string; readonly manifest: Manifest } | undefined> {
    const latest = (await this.listManifests(clusterId)).at(-1);
    return latest === undefined
      ? undefined
      : { name: latest.name, manifest: await this.readManifest(latest.name) };
  }

  /** Writes the manifest last; from here the restore point exists. Committing the same run again finds it. */
  async commitManifest(given: Omit<Manifest, "repositoryId" | "formatVersion">): Promise<string> {
    const signingKey = this.#keys.signingKey;
    if (signingKey === undefined) throw cannotCommit();
    const manifest: Manifest = { ...given, formatVersion: 1, repositoryId: this.id };
    const name = manifestName(manifest);
    const bytes = writeManifest(manifest, signingKey);
    // Text and signature are deterministic: what is there already must be exactly this.
    if ((await this.store.put(name, bytes, { ifAbsent: true })) === "exists") {
      const found = await this.store.get(name);
      if (found === undefined || !bytes.equals(found)) throw damaged(name, "not what this run commits");
    }
    return name;
  }

  async writeRunRecord(record: RunRecord): Promise<void> {
    await this.store.put(runName(record.runId), Buffer.from(JSON.stringify(record)), { ifAbsent: false });
  }

  async readRunRecord(runId: RunId): Promise<RunRecord | undefined> {
    const bytes = await this.store.get(runName(runId));
    return bytes === undefined ? undefined : RunRecord.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
  }

  get #verificationKey(): KeyObject {
    if (this.#keys.signingKey !== undefined) return createPublicKey(this.#keys.signingKey);
    return publicKeyOf("Ed25519", Buffer.from(this.document.signingPublicKey, "base64url"));
  }
}

/** @throws BackupError REPOSITORY_EXISTS */
export async function createRepository(
  store: ObjectStore,
  options: Pick<NewRepository, "passphrase" | "scryptCost"> & Partial<NewRepository>,
): Promise<Repository> {
  const { bytes, document, keys } = await makeDocument({
    chunkBytes: DEFAULT_CHUNK_BYTES,
    mapFanOut: DEFAULT_MAP_FAN_OUT,
    ...options,
  });
  if ((await store.put(REPOSITORY_DOCUMENT, bytes, { ifAbsent: true })) === "exists") {
    throw new BackupError(
      "REPOSITORY_EXISTS",
      `${store.description} holds a repository already; open it, or choose another place`,
    );
  }
  return new Repository(store, document, { ...keys, writer: keys });
}

/** @throws BackupError REPOSITORY_MISSING, REPOSITORY_OBJECT_DAMAGED, REPOSITORY_PASSPHRASE_WRONG */
export async function openRepository(store: ObjectStore, key: RepositoryKey): Promise<Repository> {
  const bytes = await store.get(REPOSITORY_DOCUMENT);
  if (bytes === undefined) {
    throw new BackupError(
      "REPOSITORY_MISSING",
      `${store.description} holds no repository; create it with gcb repo init`,
      {
        retry: "after-operator",
      },
    );
  }
  const document = parseDocument(bytes);
  if (key.kind !== "passphrase" && !key.fingerprint.equals(fingerprintOf(document))) {
    throw new BackupError(
      "REPOSITORY_KEY_MISMATCH",
      `the key was not made for the repository in ${store.description}, or its public keys were changed since; nothing was written. ` +
        "Export the key again from the repository that is meant",
      { retry: "after-operator", facts: { repositoryId: document.repositoryId } },
    );
  }
  switch (key.kind) {
    case "passphrase": {
      const keys = await openWithPassphrase(document, key.passphrase);
      return new Repository(store, document, { ...keys, writer: keys });
    }
    case "writer":
      return new Repository(store, document, { writer: deriveWriterKeys(key.writerKey) });
    case "control-plane": {
      const { writerKey, signingSeed } = key;
      return new Repository(store, document, {
        writer: deriveWriterKeys(writerKey),
        signingSeed,
        signingKey: signingKeyOf(signingSeed),
      });
    }
  }
}

function runName(runId: RunId): string {
  return `runs/${runId}.json`;
}

function cannotCommit(): BackupError {
  return new BackupError(
    "REPOSITORY_KEY_CANNOT_COMMIT",
    "this key may not commit restore points; use the control plane's key",
    {
      retry: "after-operator",
    },
  );
}
