import { createHash } from "node:crypto";
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import type { ByteRange } from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";

/*
 * The changed ranges of one disk, kept on the agent between two steps of a run: they can be a million, and history must hold only
 * small values. Layout: per range two little-endian u64, offset and length in bytes. The digest stands in the journal.
 */

const ENTRY_BYTES = 16;

/** Writes the list completely or not at all, and gives its SHA-256 in hex. */
export async function writeChangeList(file: string, ranges: readonly ByteRange[]): Promise<string> {
  const bytes = new DataView(new ArrayBuffer(ranges.length * ENTRY_BYTES));
  ranges.forEach(({ offsetBytes, lengthBytes }, index) => {
    bytes.setBigUint64(index * ENTRY_BYTES, BigInt(offsetBytes), true);
    bytes.setBigUint64(index * ENTRY_BYTES + 8, BigInt(lengthBytes), true);
  });
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  {
    await using handle = await open(`${file}.partial`, "w", 0o600);
    await handle.writeFile(new Uint8Array(bytes.buffer));
    await handle.sync();
  }
  await rename(`${file}.partial`, file);
  return digestOf(new Uint8Array(bytes.buffer));
}

/** @throws BackupError AGENT_DATA_INVALID when the file is gone or is not the one that was written */
export async function readChangeList(file: string, digest: string): Promise<ByteRange[]> {
  const content = await readFile(file).catch((cause: unknown) => {
    throw damaged(file, String(cause), cause);
  });
  if (digestOf(content) !== digest) throw damaged(file, "its digest is not the one in the journal");
  const bytes = new DataView(content.buffer, content.byteOffset, content.byteLength);
  return Array.from({ length: content.byteLength / ENTRY_BYTES }, (_, index) => ({
    offsetBytes: Number(bytes.getBigUint64(index * ENTRY_BYTES, true)),
    lengthBytes: Number(bytes.getBigUint64(index * ENTRY_BYTES + 8, true)),
  }));
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function damaged(file: string, why: string, cause?: unknown): BackupError {
  return new BackupError(
    "AGENT_DATA_INVALID",
    `the change list ${file} cannot be trusted: ${why}; start a new run, and check the disk that holds the data directory`,
    { facts: { file }, cause },
  );
}
