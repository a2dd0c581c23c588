import type { ContainerClient } from "@azure/storage-blob";

export const CORRUPTIBLE = ["pack", "map", "manifest"] as const;
export type CorruptibleKind = (typeof CORRUPTIBLE)[number];

/**
 * The object that `gcb demo --corrupt` damages: the manifest that is about to be restored; of packs and maps the newest, which
 * that restore point needs.
 */
export function chooseVictim(
  container: ContainerClient,
  kind: CorruptibleKind,
  restorePoint: string,
): Promise<string> {
  return kind === "manifest" ? Promise.resolve(restorePoint) : newest(container, `${kind}s/`);
}

/**
 * Flips one bit in the middle of a stored object, past the repository: what a rotten disk or an intruder with storage rights
 * does. Flipping it again heals it.
 */
export async function flipOneBit(container: ContainerClient, name: string): Promise<void> {
  const blob = container.getBlockBlobClient(name);
  const bytes = await blob.downloadToBuffer();
  const at = Math.floor(bytes.length / 2);
  bytes.writeUInt8((bytes[at] ?? 0) ^ 1, at);
  await blob.upload(bytes, bytes.length);
}

async function newest(container: ContainerClient, prefix: string): Promise<string> {
  let found: { readonly name: string; readonly at: number } | undefined;
  for await (const { name, properties } of container.listBlobsFlat({ prefix })) {
    const at = properties.lastModified.getTime();
    if (found === undefined || at > found.at) found = { name, at };
  }
  if (found === undefined) throw new Error(`nothing is stored below ${prefix}`);
  return found.name;
}
