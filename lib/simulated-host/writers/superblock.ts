import { createHash } from "node:crypto";
import * as z from "zod";
import { ENTRY_BYTES, RUN_BYTES, type WriterPlan } from "./plan.ts";

/** A disk as the check needs it; VirtualDisk of the vhdx room is one. */
export interface DiskReader {
  readonly sizeBytes: number;
  read(offsetBytes: number, target: Uint8Array): Promise<void>;
}

const UInt32 = z.int().min(0).max(0xffff_ffff);

const Superblock = z
  .object({
    formatVersion: z.literal(1),
    /** The estate: disks of different estates are never taken for one. */
    estateId: z.guid(),
    role: z.discriminatedUnion("kind", [
      z.object({ kind: z.literal("shared") }),
      z.object({ kind: z.literal("private"), member: z.int().min(0).max(63) }),
    ]),
    /** Where the area (shared) or the journal (private) begins. */
    areaOffsetBytes: z.int().nonnegative(),
    plan: z.object({
      seed: UInt32,
      members: z.int().min(1).max(64),
      runs: z.int().min(4).max(1_048_576),
      runsPerTransaction: z.int().min(1).max(64),
      journalEntries: z.int().min(2).max(1_048_576),
    }),
  })
  .refine(({ plan }) => plan.runsPerTransaction * 4 <= plan.runs, "a transaction writes too many runs")
  .refine(
    ({ role, plan }) => role.kind === "shared" || role.member < plan.members,
    "no member of the estate has this number",
  );

/** Says what the writers use of a disk. It is the last 4096 bytes of the disk. */
export type Superblock = z.infer<typeof Superblock>;

/** Length of the writers' area, in bytes. */
export function areaBytes(role: Superblock["role"]["kind"], plan: WriterPlan): number {
  return role === "shared" ? plan.runs * RUN_BYTES : plan.journalEntries * ENTRY_BYTES;
}

export const SUPERBLOCK_BYTES = 4096;
const MAGIC = "gcb simulated writers\n";

/** Magic line, SHA-256 of the JSON text in hex, newline, JSON text, zeros. */
export function encodeSuperblock(superblock: Superblock): Uint8Array<ArrayBuffer> {
  const json = JSON.stringify(superblock);
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  new TextEncoder().encodeInto(`${MAGIC}${digestOf(json)}\n${json}`, bytes);
  return bytes;
}

/** The superblock of a disk, or undefined when the writers never used it or it is damaged. */
export async function readSuperblock(disk: DiskReader): Promise<Superblock | undefined> {
  if (disk.sizeBytes < SUPERBLOCK_BYTES) return undefined;
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  await disk.read(disk.sizeBytes - SUPERBLOCK_BYTES, bytes);
  const text = new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0) >>> 0));
  if (!text.startsWith(MAGIC)) return undefined;
  const [digest, json] = text.slice(MAGIC.length).split("\n");
  if (digest === undefined || json === undefined || digestOf(json) !== digest) return undefined;
  const parsed = Superblock.safeParse(JSON.parse(json));
  if (!parsed.success) return undefined;
  const { areaOffsetBytes, role, plan } = parsed.data;
  return areaOffsetBytes + areaBytes(role.kind, plan) + SUPERBLOCK_BYTES <= disk.sizeBytes
    ? parsed.data
    : undefined;
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
