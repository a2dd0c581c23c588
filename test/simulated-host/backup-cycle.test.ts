import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { ReferencePointCollection } from "../../lib/agent/hyperv-host.ts";
import { FolderFiles } from "../../lib/simulated-host/disks/folder-files.ts";
import { checkEstate, checkWriterDisks } from "../../lib/simulated-host/index.ts";
import { changesOf, contentOf, missedBytes, openPoint, startLab, takePoint } from "./lab.ts";

describe("two backups while the members write", () => {
  test("each point is one instant, and the change ranges hold every byte that differs", async () => {
    const lab = await startLab();
    await lab.writeOn(20);
    const one = await takePoint(lab, "run-1");
    await lab.writeOn(20);
    const since = await lab.host.convertToReferencePoint(one.checkpoint.snapshotCollectionId);
    await lab.writeOn(20);
    const two = await takePoint(lab, "run-2");
    await lab.writeOn(5);
    const until = await lab.host.convertToReferencePoint(two.checkpoint.snapshotCollectionId);

    const [before, after] = [await openPoint(one), await openPoint(two)];
    const checks = [];
    for (const disks of [before, after])
      checks.push(await checkWriterDisks(disks, { consistency: "application" }));
    expect(checks.map(({ violations }) => violations)).toEqual([[], []]);
    expect(checks[1]!.lastTransaction).toBeGreaterThan(checks[0]!.lastTransaction + 30);

    for (const [index, { path }] of two.checkpoint.disks.entries()) {
      const [old, now] = [await contentOf(before[index]!), await contentOf(after[index]!)];
      const ranges = await changesOf(lab, path, now.length, since, until);
      expect(missedBytes(old, now, ranges)).toBe(0);
      expect(ranges.length).toBeGreaterThan(0);
      const told = ranges.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
      expect(told).toBeLessThanOrEqual(2 * 1_048_576); // the area, not the disk
    }
    expect((await lab.status()).counters).toMatchObject({ checkpoints: 2, storageSnapshots: 2 });
  });

  test("disks of two different points never pass for one", async () => {
    const lab = await startLab();
    const one = await takePoint(lab, "run-1");
    await lab.host.destroyRecoveryCheckpoint(one.checkpoint.snapshotCollectionId);
    await lab.writeOn(6);
    const two = await takePoint(lab, "run-2");
    const [before, after] = [await openPoint(one), await openPoint(two)];
    for (let taken = 0; taken < before.length; taken++) {
      const mixed = after.map((disk, index) => (index === taken ? before[index]! : disk));
      expect((await checkWriterDisks(mixed)).consistent).toBe(false);
    }
  });

  test("a crash-consistent point is one instant between two writes", async () => {
    const lab = await startLab();
    await lab.writeOn(5);
    for (let round = 0; round < 4; round++) {
      const point = await takePoint(lab, `run-${round}`, "crash");
      const check = await checkWriterDisks(await openPoint(point));
      expect(check.violations).toEqual([]);
      expect(point.checkpoint.members.map(({ consistency }) => consistency)).toEqual([
        "crash",
        "crash",
        "crash",
      ]);
      await lab.host.destroyRecoveryCheckpoint(point.checkpoint.snapshotCollectionId);
      await lab.host.releaseStorageSnapshot(point.snapshot.storageSnapshotId);
    }
  });

  test("a storage snapshot without a checkpoint is crash-consistent, too", async () => {
    const lab = await startLab();
    await lab.writeOn(20);
    const disks = (await lab.host.getVirtualMachines(lab.members)).flatMap((vm) => vm.disks);
    const snapshot = await lab.host.createStorageSnapshot({
      tag: "loose",
      paths: disks.map(({ path }) => path),
    });
    await lab.writeOn(5);
    const opened = [];
    for (const { directory, exposedAs } of snapshot.volumes) {
      const files = new FolderFiles(exposedAs);
      onTestFinished(() => files[Symbol.asyncDispose]());
      const names = disks
        .filter(({ path }) => dirname(path) === directory)
        .map(({ path }) => path.slice(directory.length + 1));
      for (const name of new Set(names)) {
        const active = name.endsWith(".vhds")
          ? (JSON.parse(await readFile(join(exposedAs, name), "utf8")) as { activeFile: string }).activeFile
          : name;
        opened.push(await files.chain(active));
      }
    }
    expect(await checkWriterDisks(opened)).toMatchObject({ consistent: true, violations: [] });
  });
});

describe("a checkpoint", () => {
  test("shows every disk once, with the file that is static now, in the folder and with the names of Hyper-V", async () => {
    const lab = await startLab();
    const { checkpoint } = await takePoint(lab, "run-1");
    expect(checkpoint.disks.map(({ shared, attachedTo }) => [shared, attachedTo.length])).toEqual([
      [true, 3],
      [false, 1],
      [false, 1],
      [false, 1],
    ]);
    const shared = checkpoint.disks[0]!;
    const set = await lab.host.getVhdSetInformation(shared.path);
    expect(set.chain).toEqual([set.activePath, shared.staticPath]);
    expect(set.activePath).toMatch(/sql-data_[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}\.avhdx$/);
    expect(set.entries).toMatchObject([{ snapshotId: shared.setSnapshotId, path: shared.staticPath }]);
    const privateDisk = checkpoint.disks[1]!;
    expect(privateDisk.staticPath).toBe(privateDisk.path);
    expect(privateDisk.setSnapshotId).toBeNull();
  });

  test("the .vhds file says what it is, and the same as the host", async () => {
    const lab = await startLab();
    const { checkpoint } = await takePoint(lab, "run-1");
    await lab.host.convertToReferencePoint(checkpoint.snapshotCollectionId);
    const { path, activePath, entries } = await lab.host.getVhdSetInformation(checkpoint.disks[0]!.path);
    const file = JSON.parse(await readFile(path, "utf8")) as {
      note: string;
      activeFile: string;
      entries: unknown;
    };
    expect(file.note).toContain("Stand-in");
    expect(join(dirname(path), file.activeFile)).toBe(activePath);
    expect(file.entries).toMatchObject(
      entries.map(({ snapshotId, rctId }) => ({ snapshotId, rctId, file: null })),
    );
  });

  test("measures for each member how long it stood still, the fast ones as long as the slowest needs", async () => {
    const lab = await startLab({ freezeMs: [1, 1, 80] });
    const { checkpoint } = await takePoint(lab, "run-1");
    const [fast, , slow] = checkpoint.members;
    expect(fast!.frozenMs).toBeGreaterThan(slow!.frozenMs);
    expect(fast!.frozenAt.getTime()).toBeLessThan(slow!.frozenAt.getTime());
    for (const { frozenAt, thawedAt } of checkpoint.members) {
      expect(thawedAt.getTime()).toBeGreaterThanOrEqual(frozenAt.getTime());
    }
  });

  test("is found again by its tag, and not made twice", async () => {
    const lab = await startLab();
    const [one, again] = [await takePoint(lab, "run-1"), await takePoint(lab, "run-1")];
    expect(again).toEqual(one);
    expect(await lab.host.findRecoveryCheckpoints(lab.members)).toEqual([one.checkpoint]);
    expect(await lab.host.findStorageSnapshots()).toEqual([one.snapshot]);
    expect((await lab.status()).counters).toMatchObject({ checkpoints: 1, storageSnapshots: 1 });
  });

  test("is refused while another run's is there", async () => {
    const lab = await startLab();
    await takePoint(lab, "run-1");
    await expect(takePoint(lab, "run-2")).rejects.toMatchObject({ code: "QUIESCE_FAILED" });
    expect(await lab.host.findRecoveryCheckpoints(lab.members)).toHaveLength(1);
  });

  test("that is destroyed leaves one file per disk and no entry; destroying it again is fine", async () => {
    const lab = await startLab();
    const { checkpoint, snapshot } = await takePoint(lab, "run-1");
    await lab.writeOn(10);
    await lab.host.destroyRecoveryCheckpoint(checkpoint.snapshotCollectionId);
    await lab.host.destroyRecoveryCheckpoint(checkpoint.snapshotCollectionId);
    await lab.host.releaseStorageSnapshot(snapshot.storageSnapshotId);
    await lab.host.releaseStorageSnapshot(snapshot.storageSnapshotId);
    const set = await lab.host.getVhdSetInformation(checkpoint.disks[0]!.path);
    expect(set.chain).toEqual([checkpoint.disks[0]!.staticPath]);
    expect(set.entries).toEqual([]);
    expect(await lab.host.findLeftovers(lab.members)).toEqual([]);
    await lab.stop();
    expect(await checkEstate(lab.folder, { consistency: "application" })).toMatchObject({ violations: [] });
  });
});

describe("a reference point", () => {
  test("is found again when the answer to its making was lost", async () => {
    const lab = await startLab();
    const { checkpoint } = await takePoint(lab, "run-1");
    const made = await lab.host.convertToReferencePoint(checkpoint.snapshotCollectionId);
    expect(await lab.host.convertToReferencePoint(checkpoint.snapshotCollectionId)).toEqual(made);
    expect(await lab.host.findReferencePoints(lab.members)).toEqual([made]);
    expect(made.tag).toBe("run-1");
  });

  test("of a checkpoint that is gone is refused", async () => {
    const lab = await startLab();
    await expect(lab.host.convertToReferencePoint("unknown")).rejects.toMatchObject({
      code: "CHECKPOINT_LOST",
    });
  });

  test("takes its entries of the VHD Set with it, and then nobody can ask against it", async () => {
    const lab = await startLab();
    const points = [];
    for (const tag of ["run-1", "run-2"]) {
      const { checkpoint } = await takePoint(lab, tag);
      points.push(await lab.host.convertToReferencePoint(checkpoint.snapshotCollectionId));
    }
    const [one, two] = points as [ReferencePointCollection, ReferencePointCollection];
    const path = (await lab.host.getVirtualMachines(lab.members))[0]!.disks[0]!.path;
    expect((await lab.host.getVhdSetInformation(path)).entries).toHaveLength(2);
    await lab.host.destroyReferencePoint(one.referencePointCollectionId);
    await lab.host.destroyReferencePoint(one.referencePointCollectionId);
    const set = await lab.host.getVhdSetInformation(path);
    expect(set.entries.map(({ snapshotId, path: data }) => [snapshotId, data])).toEqual([
      [two.disks[0]!.id, null],
    ]);
    await expect(changesOf(lab, path, 1_048_576, one, two)).rejects.toMatchObject({
      code: "REFERENCE_POINT_LOST",
    });
  });

  test("of an undone run in between does not cost the next run its incremental", async () => {
    const lab = await startLab();
    const first = await takePoint(lab, "run-1");
    const since = await lab.host.convertToReferencePoint(first.checkpoint.snapshotCollectionId);
    await lab.writeOn(5);
    const undone = await takePoint(lab, "run-2");
    await lab.host.destroyRecoveryCheckpoint(undone.checkpoint.snapshotCollectionId);
    await lab.writeOn(5);
    const third = await takePoint(lab, "run-3");
    const until = await lab.host.convertToReferencePoint(third.checkpoint.snapshotCollectionId);
    const [before, after] = [await openPoint(first), await openPoint(third)];
    const [old, now] = [await contentOf(before[0]!), await contentOf(after[0]!)];
    const ranges = await changesOf(lab, third.checkpoint.disks[0]!.path, now.length, since, until);
    expect(missedBytes(old, now, ranges)).toBe(0);
  });
});
