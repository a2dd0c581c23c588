import { createHash, randomInt } from "node:crypto";
import { copyFile, mkdir, readdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { DiskId, VmId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import { createVhdx, openVhdx, openVhdxForWrite, type WritableVirtualDisk } from "../../vhdx/index.ts";
import { FolderFiles } from "../disks/folder-files.ts";
import { PAGE_BYTES, RUN_BYTES, type WriterPlan } from "../writers/plan.ts";
import { areaBytes, encodeSuperblock, SUPERBLOCK_BYTES, type Superblock } from "../writers/superblock.ts";
import { fillWithFoundFiles, type FilledWith } from "./found-files.ts";
import { writeJsonFile } from "./json-file.ts";
import {
  estateFile,
  parseEstate,
  snapshotsFolder,
  volumeFolder,
  type Estate,
  type EstateDisk,
} from "./layout.ts";

/** What the shared disk holds besides the writers' area. */
export type SharedDiskContent =
  /** Files found on this machine, up to so many megabytes (2^20). */
  | { readonly kind: "files"; readonly megabytes: number }
  /** A copy of a VHDX file that stands alone: any layout, a dirty log too; it is made larger by the writers' area. */
  | { readonly kind: "image"; readonly path: string };

export interface EstateOptions {
  /** A new or empty folder. */
  readonly folder: string;
  readonly sharedDisk: SharedDiskContent;
  /** 1 to 64 members; default 3. */
  readonly vms?: number;
  /** The same seed gives the same ids and writers. Unsigned, 32 bits; default: any. */
  readonly seed?: number;
  /** Data on each private disk beside the writers' journal, in megabytes; default 8. */
  readonly privateMegabytes?: number;
  /** Size of the writers' area on the shared disk, in megabytes; default 32. */
  readonly writerMegabytes?: number;
  /** How long the members need to freeze, in milliseconds, one after another; default 20 to 60. */
  readonly freezeMs?: readonly number[];
  /** Target of all writers together; default 1 000 000. */
  readonly writeBytesPerSecond?: number;
}

export interface CreatedEstate {
  readonly members: readonly { readonly vmId: VmId; readonly name: string }[];
  readonly sharedDiskPath: string;
  readonly sharedDiskBytes: number;
  /** null for an image. */
  readonly filledWith: FilledWith | null;
}

const MIB = 1_048_576;
const SHARED_VOLUME = "volume-1";
const PRIVATE_VOLUME = "volume-2";
const SHARED_NAME = "sql-data";
const DEFAULT_FREEZE_MS = [40, 20, 60];

/**
 * Makes the disks and VMs of one guest cluster. Nothing is left in the folder when it fails.
 *
 * @throws BackupError SIMULATED_ESTATE_EXISTS, or the VHDX_ code that names what is wrong with an image
 */
export async function createEstate(options: EstateOptions): Promise<CreatedEstate> {
  const { folder } = options;
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) {
    throw new BackupError("SIMULATED_ESTATE_EXISTS", `${folder} is not empty; give another folder`, {
      retry: "after-operator",
      facts: { folder },
    });
  }
  try {
    return await fillFolder(options, options.seed ?? randomInt(2 ** 32));
  } catch (error) {
    for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true, force: true });
    throw error;
  }
}

async function fillFolder(options: EstateOptions, seed: number): Promise<CreatedEstate> {
  const { folder, sharedDisk, vms: count = 3, freezeMs = DEFAULT_FREEZE_MS } = options;
  for (const volume of [SHARED_VOLUME, PRIVATE_VOLUME]) {
    await mkdir(volumeFolder(folder, volume), { recursive: true });
  }
  await mkdir(join(folder, "tracking"));
  await mkdir(snapshotsFolder(folder));
  const id = (what: string) => guidOf(seed, what);
  const vms = Array.from({ length: count }, (_, index) => ({
    vmId: VmId.parse(id(`vm ${index}`)),
    name: `sql-${String(index + 1).padStart(2, "0")}`,
    configurationVersion: "9.0",
    freezeMs: freezeMs[index % freezeMs.length] ?? 0,
  }));
  const plan: WriterPlan = {
    seed,
    members: count,
    runs: ((options.writerMegabytes ?? 32) * MIB) / RUN_BYTES,
    runsPerTransaction: 2,
    journalEntries: 256,
  };
  const estateId = id("estate");
  const disks: EstateDisk[] = [];

  const baseFile = `${SHARED_NAME}_${id("base file").toUpperCase()}.avhdx`;
  const shared = await makeDisk(
    volumeFolder(folder, SHARED_VOLUME),
    baseFile,
    sharedDisk.kind === "image"
      ? { image: sharedDisk.path }
      : { megabytes: sharedDisk.megabytes, diskId: id("shared disk") },
    { formatVersion: 1, estateId, role: { kind: "shared" }, plan },
  );
  disks.push({
    diskId: shared.diskId,
    volume: SHARED_VOLUME,
    file: `${SHARED_NAME}.vhds`,
    baseFile,
    shared: true,
    attachedTo: vms.map(({ vmId }) => vmId),
  });
  for (const [member, { vmId, name }] of vms.entries()) {
    const file = `${name}.vhdx`;
    const made = await makeDisk(
      volumeFolder(folder, PRIVATE_VOLUME),
      file,
      { megabytes: options.privateMegabytes ?? 8, diskId: id(`disk of vm ${member}`) },
      { formatVersion: 1, estateId, role: { kind: "private", member }, plan },
    );
    disks.push({
      diskId: made.diskId,
      volume: PRIVATE_VOLUME,
      file,
      baseFile: file,
      shared: false,
      attachedTo: [vmId],
    });
  }
  const estate: Estate = parseEstate({
    formatVersion: 1,
    estateId,
    clusterId: id("guest cluster"),
    volumes: [{ name: SHARED_VOLUME }, { name: PRIVATE_VOLUME }],
    vms,
    disks,
    writeBytesPerSecond: options.writeBytesPerSecond ?? 1_000_000,
  });
  writeJsonFile(estateFile(folder), estate); // last: without it the folder is no estate
  return {
    members: estate.vms.map(({ vmId, name }) => ({ vmId, name })),
    sharedDiskPath: join(volumeFolder(folder, SHARED_VOLUME), `${SHARED_NAME}.vhds`),
    sharedDiskBytes: shared.sizeBytes,
    filledWith: sharedDisk.kind === "files" ? shared.filledWith : null,
  };
}

type DiskContent = { readonly megabytes: number; readonly diskId: string } | { readonly image: string };

/** A disk with its content, and the writers' area and superblock at its end. */
async function makeDisk(
  folder: string,
  name: string,
  content: DiskContent,
  superblock: Omit<Superblock, "areaOffsetBytes">,
): Promise<{ readonly diskId: DiskId; readonly sizeBytes: number; readonly filledWith: FilledWith }> {
  await using files = new FolderFiles(folder);
  if ("image" in content) await copyImage(content.image, join(folder, name));
  else {
    const file = await files.open(name, "wx+");
    await createVhdx(file, {
      kind: "dynamic",
      sizeBytes: Math.max(1, content.megabytes) * MIB,
      blockBytes: 2 * MIB,
      diskId: content.diskId,
    });
  }
  const disk = await openVhdxForWrite(await files.open(name, "r+"));
  const filledWith =
    "image" in content
      ? { files: 0, plainBytes: 0, packedBytes: 0 }
      : await fillWithFoundFiles(disk, content.megabytes * MIB);
  await addWriters(disk, superblock);
  await disk.close();
  return { diskId: DiskId.parse(disk.diskId), sizeBytes: disk.sizeBytes, filledWith };
}

async function copyImage(from: string, to: string): Promise<void> {
  await copyFile(from, to).catch((cause: unknown) => {
    throw new BackupError("SIMULATED_ESTATE_INVALID", `the image ${from} cannot be read; give another file`, {
      retry: "after-operator",
      facts: { path: from },
      cause,
    });
  });
  await using files = new FolderFiles(join(to, ".."));
  const image = await openVhdx(await files.open(basename(to), "r"));
  if (!image.hasParent) return;
  throw new BackupError(
    "VHDX_PARENT_REQUIRED",
    `${from} is a differencing disk: its content is only half in it; give the whole disk as one file`,
    { retry: "after-operator", facts: { path: from } },
  );
}

async function addWriters(
  disk: WritableVirtualDisk,
  superblock: Omit<Superblock, "areaOffsetBytes">,
): Promise<void> {
  const areaOffsetBytes = Math.ceil(disk.sizeBytes / MIB) * MIB;
  const lengthBytes =
    areaBytes(superblock.role.kind, superblock.plan) + Math.max(SUPERBLOCK_BYTES, PAGE_BYTES);
  await disk.grow(Math.ceil((areaOffsetBytes + lengthBytes) / MIB) * MIB);
  await disk.write(disk.sizeBytes - SUPERBLOCK_BYTES, encodeSuperblock({ ...superblock, areaOffsetBytes }));
}

function guidOf(seed: number, what: string): string {
  const hex = createHash("sha256").update(`${seed} ${what}`).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
