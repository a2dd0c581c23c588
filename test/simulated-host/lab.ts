import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { onTestFinished } from "vitest";
import type {
  HyperVHost,
  RecoveryCheckpoint,
  ReferencePointCollection,
  StorageSnapshot,
} from "../../lib/agent/hyperv-host.ts";
import type { ByteRange, VmId } from "../../lib/contracts/index.ts";
import { FolderFiles } from "../../lib/simulated-host/disks/folder-files.ts";
import {
  connectSimulatedHost,
  createEstate,
  setFaults,
  startSimulatedHost,
  type EstateOptions,
  type Fault,
  type SimulatedHost,
} from "../../lib/simulated-host/index.ts";
import type { VirtualDisk } from "../../lib/vhdx/index.ts";

export const MIB = 1_048_576;

/** A folder that goes with the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "gcb-simulated-host-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Small disks and a small area that the writers go over often. */
export const SMALL = {
  sharedDisk: { kind: "files", megabytes: 3 },
  privateMegabytes: 1,
  writerMegabytes: 2,
  freezeMs: [4, 2, 6],
  writeBytesPerSecond: 8_000_000,
  seed: 20_261_123,
} as const satisfies Omit<EstateOptions, "folder">;

export interface Lab {
  readonly folder: string;
  readonly members: readonly VmId[];
  readonly url: string;
  readonly host: HyperVHost;
  readonly collectionId: string;
  faults(...faults: Fault[]): Promise<void>;
  status(): Promise<Status>;
  /** Waits until the writers have committed so many more transactions. */
  writeOn(transactions: number): Promise<void>;
  /** Stops it cleanly and starts it again. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface Status {
  readonly counters: { readonly checkpoints: number; readonly storageSnapshots: number };
  readonly lastTransaction: number;
  readonly members: readonly { readonly vmId: VmId; readonly isFrozen: boolean }[];
}

/** A running simulated host, reached over HTTP as the agent does. */
export async function startLab(options: Partial<EstateOptions> = {}): Promise<Lab> {
  const folder = join(await temporaryFolder(), "estate");
  const made = await createEstate({ ...SMALL, ...options, folder });
  const members = made.members.map(({ vmId }) => vmId);
  let running: SimulatedHost | undefined = await startSimulatedHost({ folder });
  onTestFinished(() => running?.close());
  let host = connectSimulatedHost(running);
  const url = () => running?.url ?? "";
  const collectionId = await host.ensureCollection("cluster", members);
  const lab: Lab = {
    folder,
    members,
    collectionId,
    get url() {
      return url();
    },
    get host() {
      return host;
    },
    faults: (...faults) => setFaults({ url: url() }, faults),
    status: async () => (await (await fetch(`${url()}/status`)).json()) as Status,
    async writeOn(transactions) {
      const target = (await lab.status()).lastTransaction + transactions;
      while ((await lab.status()).lastTransaction < target) await sleep(10);
    },
    async restart() {
      await running?.close();
      running = await startSimulatedHost({ folder });
      host = connectSimulatedHost(running);
    },
    async stop() {
      await running?.close();
      running = undefined;
    },
  };
  return lab;
}

/** Checkpoint and storage snapshot, as the agent takes them. */
export async function takePoint(
  { host, collectionId }: Lab,
  tag: string,
  consistency: "application" | "crash" = "application",
): Promise<{ readonly checkpoint: RecoveryCheckpoint; readonly snapshot: StorageSnapshot }> {
  const checkpoint = await host.createRecoveryCheckpoint({
    collectionId,
    tag,
    consistency,
    deadlineMs: 30_000,
  });
  const snapshot = await host.createStorageSnapshot({
    tag,
    paths: checkpoint.disks.map(({ staticPath }) => staticPath),
  });
  return { checkpoint, snapshot };
}

/** The static disks of a point, read from its storage snapshot. Shared disk first, then the members' own in their order. */
export async function openPoint(point: {
  readonly checkpoint: RecoveryCheckpoint;
  readonly snapshot: StorageSnapshot;
}): Promise<VirtualDisk[]> {
  const disks: VirtualDisk[] = [];
  for (const { staticPath } of point.checkpoint.disks) {
    const volume = point.snapshot.volumes.find(({ directory }) => staticPath.startsWith(directory));
    const files = new FolderFiles(volume?.exposedAs ?? "");
    onTestFinished(() => files[Symbol.asyncDispose]());
    disks.push(await files.chain(basename(staticPath)));
  }
  return disks;
}

export async function contentOf(disk: VirtualDisk): Promise<Buffer> {
  const content = Buffer.alloc(disk.sizeBytes);
  await disk.read(0, content);
  return content;
}

/** All pages of an answer. */
export async function changesOf(
  lab: Lab,
  path: string,
  diskBytes: number,
  since: ReferencePointCollection,
  until: ReferencePointCollection,
): Promise<ByteRange[]> {
  const machine = (await lab.host.getVirtualMachines(lab.members)).flatMap(({ disks }) => disks);
  const diskId = machine.find((disk) => disk.path === path)?.diskId;
  const pointOf = (collection: ReferencePointCollection) => {
    const point = collection.disks.find((disk) => disk.diskId === diskId);
    if (point === undefined) throw new Error(`no reference point of ${path}`);
    return point;
  };
  const ranges: ByteRange[] = [];
  for (let at = 0; at < diskBytes;) {
    const page = await lab.host.getDiskChanges({
      path,
      since: pointOf(since),
      until: pointOf(until),
      range: { offsetBytes: at, lengthBytes: Math.min(1_000_000, diskBytes - at) },
    });
    ranges.push(...page.ranges);
    at += page.processedBytes;
  }
  return ranges;
}

/** How many bytes differ and lie outside of the ranges. */
export function missedBytes(before: Buffer, after: Buffer, ranges: readonly ByteRange[]): number {
  const told = Buffer.from(before);
  for (const { offsetBytes, lengthBytes } of ranges) {
    after.copy(told, offsetBytes, offsetBytes, offsetBytes + lengthBytes);
  }
  if (told.equals(after)) return 0;
  return told.reduce((count, byte, index) => (byte === after[index] ? count : count + 1), 0);
}
