import { existsSync, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join, parse, resolve } from "node:path";
import type { DiskId, VmId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import { Queue } from "../disks/gate.ts";
import { SimulatedDisk } from "../disks/simulated-disk.ts";
import {
  loadEstate,
  snapshotsFolder,
  stateFile,
  trackingFile,
  volumeFolder,
  type Estate,
  type EstateDisk,
  type EstateVm,
} from "../estate/layout.ts";
import { lockEstate } from "../estate/lock.ts";
import { Faults } from "../faults.ts";
import { ChangeTracker } from "../tracking/tracker.ts";
import { Member } from "../writers/member.ts";
import { startWriters, type RunningWriters } from "../writers/run-writers.ts";
import { StateStore } from "./state.ts";
import { writeVhdSetFiles } from "./vhd-set.ts";

export type HostLog = (level: "info" | "warn" | "error", message: string, facts?: object) => void;

/** An estate whose members run: its disks are open, its writers write, its state is kept. */
export class RunningEstate {
  readonly folder: string;
  readonly layout: Estate;
  readonly state: StateStore;
  readonly log: HostLog;
  readonly faults = new Faults();
  /** Aborted when the host is told to stop: what only waits ends then. */
  readonly stopping = new AbortController();
  /** What changes the estate, one after another; questions about checkpoints and the like wait for it. */
  readonly changes = new Queue();
  readonly members = new Map<VmId, Member>();
  readonly trackers = new Map<DiskId, ChangeTracker>();
  readonly #disks = new Map<DiskId, SimulatedDisk>();
  #writers: RunningWriters | undefined;
  #writerFailure: string | undefined;
  #lock: Disposable | undefined;

  private constructor(folder: string, layout: Estate, state: StateStore, log: HostLog, lock: Disposable) {
    this.folder = folder;
    this.layout = layout;
    this.state = state;
    this.log = log;
    this.#lock = lock;
  }

  /**
   * Opens an estate, also after its last host was killed: half-made files go, interrupted merges are finished, the writers go on.
   *
   * @throws BackupError SIMULATED_ESTATE_INVALID, SIMULATED_ESTATE_IN_USE
   */
  static async start(givenFolder: string, log: HostLog): Promise<RunningEstate> {
    const folder = resolve(givenFolder);
    const layout = loadEstate(folder);
    const lock = lockEstate(folder);
    const state = new StateStore(stateFile(folder), layout);
    const estate = new RunningEstate(folder, layout, state, log, lock);
    try {
      for (const disk of layout.disks) await estate.#openDisk(disk);
      await estate.settleFiles();
      await estate.#removeUnknownSnapshots();
      for (const disk of layout.disks) await estate.mergeIfFree(disk.diskId);
      writeVhdSetFiles(estate);
      await estate.#startMembers();
    } catch (error) {
      await estate.#closeDisks();
      lock[Symbol.dispose]();
      throw error;
    }
    return estate;
  }

  disk(diskId: DiskId): SimulatedDisk {
    return found(this.#disks.get(diskId), `disk ${diskId}`);
  }

  diskLayout(diskId: DiskId): EstateDisk {
    return found(
      this.layout.disks.find((disk) => disk.diskId === diskId),
      `disk ${diskId}`,
    );
  }

  vm(vmId: VmId): EstateVm {
    return found(
      this.layout.vms.find((vm) => vm.vmId === vmId),
      `VM ${vmId}`,
    );
  }

  member(vmId: VmId): Member {
    return found(this.members.get(vmId), `VM ${vmId}`);
  }

  /** The disk that a path names: the `.vhds` or `.vhdx` of a VM's configuration, or any file of its chain. */
  diskAt(path: string): EstateDisk {
    const wanted = resolve(path);
    const disk = this.layout.disks.find((each) => {
      const folder = volumeFolder(this.folder, each.volume);
      const files = [each.file, each.baseFile, ...this.disk(each.diskId).chain];
      return files.some((file) => join(folder, file) === wanted);
    });
    return found(disk, `disk at ${path}`);
  }

  get writers(): RunningWriters | undefined {
    return this.#writers;
  }

  /** Why the writers stopped by themselves, if they did: the machine's own disk is full, for example. */
  get writerFailure(): string | undefined {
    return this.#writerFailure;
  }

  /** Merges a disk that no checkpoint needs. */
  async mergeIfFree(diskId: DiskId): Promise<void> {
    const isHeld = this.state.current.checkpoints.some(({ disks }) =>
      disks.some((disk) => disk.diskId === diskId),
    );
    if (isHeld) return;
    const merges = await this.disk(diskId).mergeAll();
    if (merges === 0) return;
    this.state.update(({ counters }) => ({ counters: { ...counters, merges: counters.merges + merges } }));
  }

  /** Deletes the files that were made for something that did not come about, and forgets those that are gone or in use. */
  async settleFiles(): Promise<void> {
    for (const { volume, file } of this.state.current.disposableFiles) {
      if (!this.isInChain(volume, file))
        await rm(join(volumeFolder(this.folder, volume), file), { force: true });
    }
    this.state.update(() => ({ disposableFiles: [] }));
  }

  isInChain(volume: string, file: string): boolean {
    return this.layout.disks.some(
      (disk) => disk.volume === volume && this.disk(disk.diskId).chain.includes(file),
    );
  }

  /** A clean stop: change tracking is saved, no transaction is cut in two. */
  async close(): Promise<void> {
    this.stopping.abort();
    await this.changes.run(async () => {
      for (const member of this.members.values()) member.thaw();
      await this.#writers?.stop();
      await this.#closeDisks();
      for (const tracker of this.trackers.values()) tracker.close();
      this.#lock?.[Symbol.dispose]();
      this.#lock = undefined;
    });
  }

  async #openDisk(disk: EstateDisk): Promise<void> {
    const { diskId, volume } = disk;
    const tracker = new ChangeTracker(trackingFile(this.folder, diskId));
    this.trackers.set(diskId, tracker);
    const opened = await SimulatedDisk.open({
      folder: volumeFolder(this.folder, volume),
      stem: parse(disk.file).name,
      activeFile: this.state.current.activeFiles[diskId] ?? disk.baseFile,
      onWrite: (offsetBytes, lengthBytes) => tracker.mark(offsetBytes, lengthBytes),
      journal: {
        setActiveFile: (file) => {
          this.state.update(({ activeFiles }) => ({ activeFiles: { ...activeFiles, [diskId]: file } }));
        },
        addDisposable: (file) => {
          this.state.update(({ disposableFiles }) => ({
            disposableFiles: [...disposableFiles, { volume, file }],
          }));
        },
      },
    });
    this.#disks.set(diskId, opened);
  }

  async #startMembers(): Promise<void> {
    const shared = found(
      this.layout.disks.find((disk) => disk.shared),
      "shared disk",
    );
    for (const [number, { vmId }] of this.layout.vms.entries()) {
      const own = found(
        this.layout.disks.find((disk) => !disk.shared && disk.attachedTo.includes(vmId)),
        `private disk of VM ${vmId}`,
      );
      this.members.set(
        vmId,
        new Member(number, { shared: this.disk(shared.diskId), private: this.disk(own.diskId) }),
      );
    }
    this.#writers = await startWriters({
      members: [...this.members.values()],
      bytesPerSecond: this.layout.writeBytesPerSecond,
      onFailure: (error) => {
        this.#writerFailure = String(error);
        this.log("error", "the writers stopped", { error: String(error) });
      },
    });
  }

  /** A copy that was not finished, or that nobody knows. */
  async #removeUnknownSnapshots(): Promise<void> {
    const folder = snapshotsFolder(this.folder);
    const known = new Set(this.state.current.storageSnapshots.map(({ id }) => id));
    for (const name of existsSync(folder) ? readdirSync(folder) : []) {
      if (!known.has(name)) await rm(join(folder, name), { recursive: true, force: true });
    }
  }

  async #closeDisks(): Promise<void> {
    for (const disk of this.#disks.values()) await disk.close();
  }
}

function found<T>(value: T | undefined, what: string): T {
  if (value !== undefined) return value;
  throw new BackupError(
    "HYPERV_OBJECT_MISSING",
    `the host has no ${what}; check whether it was moved or removed`,
    {
      retry: "after-operator",
      facts: { object: what },
    },
  );
}
