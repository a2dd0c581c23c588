import { sign, verify, type KeyObject } from "node:crypto";
import * as z from "zod";
import {
  ByteCount,
  ChangeSource,
  Consistency,
  DiskId,
  DiskSizes,
  GuestClusterId,
  MapRoot,
  PointMember,
  ReferencePoint,
  RunId,
  VmId,
} from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";
import { canonicalJson } from "./canonical-json.ts";
import { damaged } from "./damage.ts";

export const ManifestDisk = z.object({
  diskId: DiskId,
  label: z.string(),
  shared: z.boolean(),
  attachedTo: z.array(VmId),
  virtualSizeBytes: ByteCount,
  logicalSectorBytes: z.union([z.literal(512), z.literal(4096)]),
  physicalSectorBytes: z.union([z.literal(512), z.literal(4096)]),
  blockBytes: ByteCount,
  mapRoot: MapRoot,
  referencePoint: ReferencePoint.nullable(),
  changeSource: ChangeSource,
  sizes: DiskSizes,
});
export type ManifestDisk = z.infer<typeof ManifestDisk>;

/** The record that makes one restore point restorable. */
export const Manifest = z.object({
  formatVersion: z.literal(1),
  repositoryId: z.string(),
  clusterId: GuestClusterId,
  runId: RunId,
  createdAt: z.iso.datetime(),
  /** Name of the manifest before it, so that a missing one is noticed. */
  predecessor: z.string().nullable(),
  consistency: Consistency,
  members: z.array(PointMember),
  storageSnapshots: z.int().nonnegative(),
  disks: z.array(ManifestDisk).min(1),
  writtenBy: z.string(),
});
export type Manifest = z.infer<typeof Manifest>;

const Signed = z.object({
  manifest: Manifest,
  signature: z.object({ algorithm: z.literal("Ed25519"), value: z.string() }),
});

/** `manifests/<cluster>/<UTC time>-<run>.json`: names sort by time. */
export function manifestName({
  clusterId,
  createdAt,
  runId,
}: Pick<Manifest, "clusterId" | "createdAt" | "runId">): string {
  const time = createdAt.slice(0, 19).replaceAll(/[-:]/g, "").toLowerCase();
  return `manifests/${clusterId}/${time}z-${runId}.json`;
}

export function writeManifest(manifest: Manifest, signingKey: KeyObject): Buffer {
  const checked = Manifest.parse(manifest);
  const value = sign(null, signedText(manifestName(checked), checked), signingKey).toString("base64url");
  return Buffer.from(canonicalJson({ manifest: checked, signature: { algorithm: "Ed25519", value } }));
}

/**
 * Reads a manifest. The stored bytes must be the canonical form of what they say and be signed under this very name, so that any
 * changed byte, and any manifest under another one's name, is refused.
 *
 * @throws BackupError REPOSITORY_OBJECT_DAMAGED
 */
export function readManifest(
  name: string,
  bytes: Uint8Array,
  repositoryId: string,
  publicKey: KeyObject,
): Manifest {
  const buffer = Buffer.from(bytes);
  const parsed = Signed.safeParse(parseJson(name, buffer));
  if (!parsed.success) throw damaged(name, "manifest");
  const { manifest, signature } = parsed.data;
  if (!Buffer.from(canonicalJson(parsed.data)).equals(buffer)) throw damaged(name, "manifest text");
  const signed = signedText(name, manifest);
  if (!verify(null, signed, publicKey, Buffer.from(signature.value, "base64url")))
    throw damaged(name, "signature");
  if (manifest.repositoryId !== repositoryId || manifestName(manifest) !== name) throw damaged(name, "name");
  return manifest;
}

function signedText(name: string, manifest: Manifest): Buffer {
  return Buffer.from(`gcb/1/manifest/${name}\n${canonicalJson(manifest)}`);
}

function parseJson(name: string, bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw damaged(name, "manifest", error);
  }
}

export function notFound(name: string): BackupError {
  return new BackupError("RESTORE_POINT_UNKNOWN", `there is no restore point ${name}`, {
    facts: { restorePoint: name },
  });
}
