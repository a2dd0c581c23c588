import { describe, expect, test } from "vitest";
import { checkEstate, startSimulatedHost } from "../../lib/simulated-host/index.ts";
import { changesOf, contentOf, missedBytes, openPoint, startLab, takePoint } from "./lab.ts";

describe("a host that was stopped and started again", () => {
  test("still has its checkpoint, storage snapshot and collection, and its writers go on", async () => {
    const lab = await startLab();
    const point = await takePoint(lab, "run-1");
    await lab.restart();
    expect(await lab.host.findRecoveryCheckpoints(lab.members)).toEqual([point.checkpoint]);
    expect(await lab.host.findStorageSnapshots()).toEqual([point.snapshot]);
    expect(await lab.host.ensureCollection("cluster", lab.members)).toBe(lab.collectionId);
    await lab.writeOn(10);
    await lab.host.convertToReferencePoint(point.checkpoint.snapshotCollectionId);
    await lab.stop();
    expect(await checkEstate(lab.folder, { consistency: "application" })).toMatchObject({ violations: [] });
  });

  test("still knows what changed, because it was stopped cleanly", async () => {
    const lab = await startLab();
    const first = await takePoint(lab, "run-1");
    const since = await lab.host.convertToReferencePoint(first.checkpoint.snapshotCollectionId);
    await lab.writeOn(5);
    await lab.restart();
    await lab.writeOn(5);
    const second = await takePoint(lab, "run-2");
    const until = await lab.host.convertToReferencePoint(second.checkpoint.snapshotCollectionId);
    const [before, after] = [await openPoint(first), await openPoint(second)];
    for (const [index, { path }] of second.checkpoint.disks.entries()) {
      const [old, now] = [await contentOf(before[index]!), await contentOf(after[index]!)];
      const ranges = await changesOf(lab, path, now.length, since, until);
      expect(ranges.length).toBeGreaterThan(0);
      expect(missedBytes(old, now, ranges)).toBe(0);
    }
  });
});

test("two hosts never run one estate", async () => {
  const lab = await startLab();
  await expect(startSimulatedHost({ folder: lab.folder })).rejects.toMatchObject({
    code: "SIMULATED_ESTATE_IN_USE",
  });
  await expect(checkEstate(lab.folder)).rejects.toMatchObject({ code: "SIMULATED_ESTATE_IN_USE" });
});

test("a folder without an estate is named", async () => {
  await expect(startSimulatedHost({ folder: import.meta.dirname })).rejects.toMatchObject({
    code: "SIMULATED_ESTATE_INVALID",
  });
});
