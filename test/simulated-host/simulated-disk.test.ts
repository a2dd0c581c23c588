import { readdir } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FolderFiles } from "../../lib/simulated-host/disks/folder-files.ts";
import { SimulatedDisk } from "../../lib/simulated-host/disks/simulated-disk.ts";
import { GRANULE_BYTES } from "../../lib/simulated-host/tracking/granules.ts";
import { ChangeTracker } from "../../lib/simulated-host/tracking/tracker.ts";
import { createVhdx } from "../../lib/vhdx/index.ts";
import { contentOf, MIB, missedBytes, temporaryFolder } from "./lab.ts";

const DISK_BYTES = 12 * MIB;

/** A disk beside a plain buffer that gets the same writes. */
class DiskLab {
  readonly folder: string;
  readonly model = Buffer.alloc(DISK_BYTES);
  readonly tracker: ChangeTracker;
  activeFile = "data.vhdx";
  disk!: SimulatedDisk;

  private constructor(folder: string) {
    this.folder = folder;
    this.tracker = new ChangeTracker(join(folder, "tracking.json"));
  }

  static async create(): Promise<DiskLab> {
    const folder = await temporaryFolder();
    await using files = new FolderFiles(folder);
    await createVhdx(await files.open("data.vhdx", "wx+"), {
      kind: "dynamic",
      sizeBytes: DISK_BYTES,
      blockBytes: 2 * MIB,
    });
    const lab = new DiskLab(folder);
    await lab.open();
    return lab;
  }

  async open(): Promise<void> {
    this.disk = await SimulatedDisk.open({
      folder: this.folder,
      stem: "data",
      activeFile: this.activeFile,
      onWrite: (offsetBytes, lengthBytes) => this.tracker.mark(offsetBytes, lengthBytes),
      journal: {
        setActiveFile: (file) => {
          this.activeFile = file;
        },
        addDisposable: () => undefined,
      },
    });
  }

  async write(offsetBytes: number, lengthBytes: number, value: number): Promise<void> {
    const data = Buffer.alloc(lengthBytes, value);
    data.copy(this.model, offsetBytes);
    await this.disk.write(offsetBytes, data);
  }

  async checkpoint(): Promise<void> {
    await this.disk.gate.close();
    const { activeFile } = await this.disk.prepareSwitch();
    this.activeFile = activeFile;
    this.disk.gate.open();
  }

  async content(): Promise<Buffer> {
    const content = Buffer.alloc(DISK_BYTES);
    await this.disk.read(0, content);
    return content;
  }

  /** What a stranger reads from the files alone. */
  async contentOfFiles(): Promise<Buffer> {
    await this.disk.flush();
    await using files = new FolderFiles(this.folder);
    return await contentOf(await files.chain(this.activeFile));
  }

  async differsFrom(content: Buffer): Promise<boolean> {
    return Buffer.compare(await this.content(), content) !== 0;
  }
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      at: fc.nat({ max: DISK_BYTES - 1 }),
      length: fc.integer({ min: 1, max: 300_000 }),
      value: fc.nat({ max: 255 }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: "checkpoint" as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: "merge" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
);

test("any order of writes, checkpoints, merges and restarts shows what a plain buffer shows", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 14 }), async (steps) => {
      const lab = await DiskLab.create();
      for (const each of steps) {
        switch (each.kind) {
          case "write":
            await lab.write(each.at, Math.min(each.length, DISK_BYTES - each.at), each.value);
            break;
          case "checkpoint":
            await lab.checkpoint();
            break;
          case "merge":
            await lab.disk.mergeAll();
            expect(lab.disk.chain).toEqual(["data.vhdx"]);
            break;
          case "reopen":
            await lab.disk.close();
            await lab.open();
            break;
        }
      }
      expect(await lab.differsFrom(lab.model)).toBe(false);
      expect(Buffer.compare(await lab.contentOfFiles(), lab.model)).toBe(0);
      await lab.disk.close();
    }),
    { numRuns: 15 },
  );
});

test("what two seals enclose is never narrower than a byte compare of the disk at the two moments", async () => {
  const write = fc.tuple(
    fc.nat({ max: DISK_BYTES - 1 }),
    fc.integer({ min: 1, max: 100_000 }),
    fc.nat({ max: 255 }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(write, { maxLength: 6 }),
      fc.array(write, { maxLength: 6 }),
      async (first, second) => {
        const lab = await DiskLab.create();
        const writeAll = async (list: typeof first) => {
          for (const [at, length, value] of list)
            await lab.write(at, Math.min(length, DISK_BYTES - at), value);
        };
        await writeAll(first);
        lab.tracker.seal("a");
        const before = await lab.content();
        await lab.checkpoint();
        await writeAll(second);
        await lab.disk.mergeAll();
        await writeAll(first);
        lab.tracker.seal("b");
        const changes = lab.tracker.changes("a", "b");
        if (changes.kind === "lost") throw new Error("lost without a loss");
        const ranges = changes.runs.map(([granule, count]) => ({
          offsetBytes: granule * GRANULE_BYTES,
          lengthBytes: count * GRANULE_BYTES,
        }));
        expect(missedBytes(before, await lab.content(), ranges)).toBe(0);
        await lab.disk.close();
      },
    ),
    { numRuns: 8 },
  );
});

describe("a merge under load", () => {
  test("lets the guest write on, loses none of its writes and leaves one file", async () => {
    const lab = await DiskLab.create();
    for (let at = 0; at < DISK_BYTES; at += MIB) await lab.write(at, MIB, 1 + at / MIB);
    await lab.checkpoint();
    for (let at = 0; at < DISK_BYTES; at += MIB) await lab.write(at + 4096, MIB / 2, 100 + at / MIB);
    const merge = { isRunning: true };
    let written = 0;
    const load = (async () => {
      for (let number = 0; merge.isRunning; number++) {
        await lab.write((number * 7919 * 512) % (DISK_BYTES - 65_536), 16_384, number % 251);
        written++;
      }
    })();
    const merges = await lab.disk.mergeAll();
    merge.isRunning = false;
    await load;
    expect(written).toBeGreaterThan(0);
    expect(merges).toBeGreaterThan(1); // the guest got a file of its own meanwhile
    expect(lab.disk.chain).toEqual(["data.vhdx"]);
    expect(await lab.differsFrom(lab.model)).toBe(false);
    expect((await readdir(lab.folder)).filter((name) => name.endsWith("vhdx"))).toEqual(["data.vhdx"]);
    await lab.disk.close();
  });

  test("that fails leaves the disk as it was, and the next one finishes it", async () => {
    const lab = await DiskLab.create();
    await lab.write(0, MIB, 1);
    await lab.checkpoint();
    await lab.write(512, MIB, 2);
    const file = join(lab.folder, lab.activeFile);
    const journal = { fails: true };
    await lab.disk.close();
    lab.disk = await SimulatedDisk.open({
      folder: lab.folder,
      stem: "data",
      activeFile: lab.activeFile,
      onWrite: () => undefined,
      journal: {
        setActiveFile: (name) => {
          if (journal.fails) throw new Error("the state cannot be written");
          lab.activeFile = name;
        },
        addDisposable: () => undefined,
      },
    });
    await expect(lab.disk.mergeAll()).rejects.toThrow("cannot be written");
    expect(join(lab.folder, lab.disk.activeFile)).toBe(file);
    expect(await lab.differsFrom(lab.model)).toBe(false);
    await lab.write(8192, 512, 3);
    journal.fails = false;
    await lab.disk.mergeAll();
    expect(lab.disk.chain).toEqual(["data.vhdx"]);
    expect(await lab.differsFrom(lab.model)).toBe(false);
    await lab.disk.close();
  });
});

test("a switch that is abandoned leaves the file that was written before, and no other", async () => {
  const lab = await DiskLab.create();
  await lab.write(0, 1000, 5);
  await lab.disk.gate.close();
  const prepared = await lab.disk.prepareSwitch();
  await prepared.abandon();
  lab.disk.gate.open();
  await lab.write(500, 1000, 6);
  expect(lab.disk.chain).toEqual(["data.vhdx"]);
  expect(await lab.differsFrom(lab.model)).toBe(false);
  expect(await readdir(lab.folder)).toEqual(["data.vhdx"]);
  await lab.disk.close();
});
