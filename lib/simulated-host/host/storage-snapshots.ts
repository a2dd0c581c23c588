import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import type { StorageSnapshot } from "../../agent/hyperv-host.ts";
import { BackupError } from "../../errors/index.ts";
import type { SimulatedDisk } from "../disks/simulated-disk.ts";
import { snapshotsFolder, volumeFolder } from "../estate/layout.ts";
import type { RunningEstate } from "./running-estate.ts";
import type { HostState } from "./state.ts";

type SnapshotState = HostState["storageSnapshots"][number];

/**
 * One instant of all volumes that hold the paths. Files that a checkpoint made static are copied while the members write; those
 * that are being written are copied together while writes wait, so that all copies are of one instant.
 */
export async function createSnapshot(
  estate: RunningEstate,
  request: { readonly tag: string; readonly paths: readonly string[] },
): Promise<StorageSnapshot> {
  const there = estate.state.current.storageSnapshots.find(({ tag }) => tag === request.tag);
  if (there !== undefined) return snapshotView(estate, there);
  const volumes = volumesOf(estate, request.paths);
  if (estate.faults.take("storage-snapshot-fails") !== undefined) {
    throw failed("the VSS provider gave up (VSS_E_PROVIDER_VETO, 0x80042306)");
  }
  const id = randomUUID();
  const folder = snapshotsFolder(estate.folder);
  const unfinished = join(folder, `${id}.unfinished`);
  try {
    await copyVolumes(estate, volumes, unfinished);
    await rename(unfinished, join(folder, id));
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    throw error instanceof BackupError ? error : failed(String(error), error);
  }
  const snapshot: SnapshotState = { id, tag: request.tag, volumes, createdAt: new Date() };
  estate.state.update(({ storageSnapshots, counters }) => ({
    storageSnapshots: [...storageSnapshots, snapshot],
    counters: { ...counters, storageSnapshots: counters.storageSnapshots + 1 },
  }));
  return snapshotView(estate, snapshot);
}

export async function releaseSnapshot(estate: RunningEstate, id: string): Promise<void> {
  if (!estate.state.current.storageSnapshots.some((each) => each.id === id)) return;
  await rm(join(snapshotsFolder(estate.folder), id), { recursive: true, force: true });
  estate.state.update(({ storageSnapshots }) => ({
    storageSnapshots: storageSnapshots.filter((each) => each.id !== id),
  }));
}

export function snapshotView(estate: RunningEstate, snapshot: SnapshotState): StorageSnapshot {
  return {
    storageSnapshotId: snapshot.id,
    tag: snapshot.tag,
    volumes: snapshot.volumes.map((volume) => ({
      directory: volumeFolder(estate.folder, volume),
      exposedAs: join(snapshotsFolder(estate.folder), snapshot.id, volume),
    })),
  };
}

function volumesOf(estate: RunningEstate, paths: readonly string[]): string[] {
  const names = estate.layout.volumes.map(({ name }) => name);
  const folders = names.map((name) => volumeFolder(estate.folder, name));
  const wanted = new Set(
    paths.map((path) => {
      const index = folders.findIndex((folder) => resolve(path).startsWith(folder + sep));
      const name = names[index];
      if (name === undefined) throw failed(`${path} is on no volume of this host`);
      return name;
    }),
  );
  return names.filter((name) => wanted.has(name));
}

async function copyVolumes(estate: RunningEstate, volumes: readonly string[], target: string): Promise<void> {
  const live = estate.layout.disks
    .filter(({ volume }) => volumes.includes(volume))
    .map((layout) => ({ volume: layout.volume, disk: estate.disk(layout.diskId) }));
  const isLive = (volume: string, file: string) =>
    live.some((each) => each.volume === volume && each.disk.activeFile === file);
  for (const volume of volumes) {
    await mkdir(join(target, volume), { recursive: true });
    for (const file of await readdir(volumeFolder(estate.folder, volume))) {
      if (!isLive(volume, file)) await copyOne(estate, volume, file, target);
    }
  }
  await whileClosed(
    live.map(({ disk }) => disk),
    async () => {
      for (const { volume, disk } of live) {
        await disk.flushWhileClosed();
        await copyOne(estate, volume, disk.activeFile, target);
      }
    },
  );
}

async function whileClosed(disks: readonly SimulatedDisk[], work: () => Promise<void>): Promise<void> {
  await Promise.all(disks.map(({ gate }) => gate.close()));
  try {
    await work();
  } finally {
    for (const { gate } of disks) gate.open();
  }
}

function copyOne(estate: RunningEstate, volume: string, file: string, target: string): Promise<void> {
  return copySparse(join(volumeFolder(estate.folder, volume), file), join(target, volume, file));
}

const PIECE_BYTES = 1_048_576;

/** By reference where the file system can; else byte by byte, holes staying holes. */
export async function copySparse(from: string, to: string): Promise<void> {
  const { size, blocks } = await stat(from);
  if (blocks * 512 >= size) return copyFile(from, to, constants.COPYFILE_FICLONE);
  const isCloned = await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE).then(
    () => true,
    () => false,
  );
  if (isCloned) return;
  await using source = await open(from, "r");
  await using copy = await open(to, "w");
  const buffer = Buffer.alloc(PIECE_BYTES);
  for (let at = 0; at < size;) {
    const { bytesRead } = await source.read(buffer, 0, PIECE_BYTES, at);
    if (bytesRead === 0) break;
    const piece = buffer.subarray(0, bytesRead);
    if (!piece.equals(ZEROS.subarray(0, bytesRead))) await copy.write(piece, 0, bytesRead, at);
    at += bytesRead;
  }
  await copy.truncate(size);
}
const ZEROS = Buffer.alloc(PIECE_BYTES);

function failed(why: string, cause?: unknown): BackupError {
  return new BackupError(
    "STORAGE_SNAPSHOT_FAILED",
    `the storage snapshot failed: ${why}; look at the VSS provider`,
    {
      retry: "later",
      ...(cause === undefined ? {} : { cause }),
    },
  );
}
