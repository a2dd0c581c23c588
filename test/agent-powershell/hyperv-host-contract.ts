import { describe, expect, test } from "vitest";
import type { HyperVHost } from "../../lib/agent/hyperv-host.ts";
import { VmId } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";

/** A host with a guest cluster that is well: members run, one VHD Set is attached to all of them, nothing is left over. */
export interface HostUnderTest extends AsyncDisposable {
  readonly host: HyperVHost;
  /** Two or more. */
  readonly members: readonly VmId[];
  /** Path of the `.vhds` that all members share. */
  readonly sharedPath: string;
  /** Virtual size of the shared disk, or less when only its beginning is of interest. */
  readonly sharedBytes: number;
  /** Resolves when the members have written to that part of the shared disk, where the host has members that write. */
  readonly write?: () => Promise<void>;
}

const STRANGER = VmId.parse("99999999-9999-4999-8999-999999999999");

async function rejection(promise: Promise<unknown>): Promise<BackupError> {
  const error: unknown = await promise.then(
    () => new Error("it did not reject"),
    (reason: unknown) => reason,
  );
  if (error instanceof BackupError) return error;
  throw error;
}

/**
 * What every implementation of the HyperVHost port promises. Each test opens a host of its own.
 *
 * @param name of the implementation, in the test report
 */
export function describeHyperVHost(name: string, open: () => Promise<HostUnderTest>): void {
  describe(`the HyperVHost port, as ${name} implements it`, () => {
    const on = (rule: string, check: (it: HostUnderTest) => Promise<void>): void => {
      test(rule, async () => {
        await using it = await open();
        await check(it);
      });
    };
    const checkpoint = async ({ host, members }: HostUnderTest, tag: string) => {
      const collectionId = await host.ensureCollection("contract", members);
      return host.createRecoveryCheckpoint({
        collectionId,
        tag,
        consistency: "application",
        deadlineMs: 60_000,
      });
    };
    const reference = async (it: HostUnderTest, tag: string) => {
      const { snapshotCollectionId } = await checkpoint(it, tag);
      return it.host.convertToReferencePoint(snapshotCollectionId);
    };

    on("a host says its name", async ({ host }) => {
      expect((await host.describe()).name).not.toBe("");
    });

    on("a VM that the host does not know is missing from every answer", async ({ host }) => {
      expect(await host.getVirtualMachines([STRANGER])).toEqual([]);
      expect(await host.getGuestClusterInformation([STRANGER])).toEqual([]);
    });

    on(
      "each member has the shared disk under one identity, and private disks under others",
      async ({ host, members, sharedPath }) => {
        const found = await host.getVirtualMachines(members);
        expect(found.map(({ vmId }) => vmId).sort()).toEqual([...members].sort());
        const shared = found.map(({ disks }) =>
          disks.filter((disk) => disk.shared && disk.path === sharedPath),
        );
        for (const each of shared) expect(each).toHaveLength(1);
        const sharedIds = new Set(shared.flat().map(({ diskId }) => diskId));
        expect(sharedIds.size).toBe(1);
        const priv = found.flatMap(({ disks }) =>
          disks.filter((disk) => !disk.shared).map(({ diskId }) => diskId),
        );
        expect(new Set(priv).size).toBe(priv.length);
        expect(priv.some((diskId) => sharedIds.has(diskId))).toBe(false);
        for (const vm of found)
          expect(vm).toMatchObject({ state: "running", vssStatus: "ok", checkpoints: [] });
      },
    );

    on(
      "the members agree on their cluster, and the shared disk has exactly one owner",
      async ({ host, members, sharedPath }) => {
        const all = await host.getGuestClusterInformation(members);
        expect(new Set(all.map(({ clusterId }) => clusterId)).size).toBe(1);
        expect(all.map(({ clusterSize }) => clusterSize)).toEqual(members.map(() => members.length));
        const views = all.flatMap(({ sharedDisks }) => sharedDisks.filter(({ path }) => path === sharedPath));
        expect(views).toHaveLength(members.length);
        expect(views.filter(({ isOwned }) => isOwned)).toHaveLength(1);
        expect(
          views.every(
            ({ isClustered, isOnline, isActiveActive }) => isClustered && isOnline && !isActiveActive,
          ),
        ).toBe(true);
      },
    );

    on(
      "readiness names the volume of the shared disk with its space",
      async ({ host, members, sharedPath }) => {
        const { volumes } = await host.getReadiness(members);
        const holding = volumes.filter(({ directory }) => sharedPath.startsWith(directory));
        expect(holding.length).toBeGreaterThan(0);
        for (const { freeBytes, usedBytes } of holding) expect(freeBytes + usedBytes).toBeGreaterThan(0);
      },
    );

    on("the collection of the same members is the same collection", async ({ host, members }) => {
      const first = await host.ensureCollection("contract", members);
      expect(await host.ensureCollection("contract", members)).toBe(first);
    });

    on(
      "a checkpoint has every member and each shared disk once, with its entry in the VHD Set",
      async (it) => {
        const made = await checkpoint(it, "run-1");
        expect(made.tag).toBe("run-1");
        expect(made.members.map(({ vmId }) => vmId).sort()).toEqual([...it.members].sort());
        for (const { consistency, frozenAt, thawedAt, frozenMs } of made.members) {
          expect(consistency).toBe("application");
          expect(frozenMs).toBeGreaterThanOrEqual(0);
          expect(frozenMs).toBeLessThanOrEqual(60_000);
          expect(thawedAt.getTime()).toBeGreaterThanOrEqual(frozenAt.getTime());
        }
        const shared = made.disks.filter(({ path }) => path === it.sharedPath);
        expect(shared).toHaveLength(1);
        expect([...(shared[0]?.attachedTo ?? [])].sort()).toEqual([...it.members].sort());
        expect(shared[0]?.setSnapshotId).toBeTruthy();
        expect(shared[0]?.staticPath).not.toBe(it.sharedPath);
        for (const disk of made.disks.filter((each) => !each.shared)) {
          expect(disk.setSnapshotId).toBeNull();
          expect(disk.attachedTo).toHaveLength(1);
        }
      },
    );

    on(
      "a checkpoint is found again by its tag, with the same disks, and shows on its members",
      async (it) => {
        const made = await checkpoint(it, "run-1");
        const found = await it.host.findRecoveryCheckpoints(it.members);
        expect(found).toHaveLength(1);
        expect(found[0]).toMatchObject({ tag: "run-1", snapshotCollectionId: made.snapshotCollectionId });
        const paths = (disks: typeof made.disks): string[] =>
          disks.map(({ staticPath }) => staticPath).sort();
        expect(paths(found[0]?.disks ?? [])).toEqual(paths(made.disks));
        for (const vm of await it.host.getVirtualMachines(it.members)) {
          expect(vm.checkpoints.map(({ kind }) => kind)).toEqual(["recovery"]);
        }
      },
    );

    on(
      "with a checkpoint the set writes to another file; removing it merges, and removing it again is fine",
      async (it) => {
        const before = await it.host.getVhdSetInformation(it.sharedPath);
        expect(before.chain).toHaveLength(1);
        const made = await checkpoint(it, "run-1");
        const during = await it.host.getVhdSetInformation(it.sharedPath);
        expect(during.chain.length).toBeGreaterThan(1);
        expect(during.activePath).toBe(during.chain[0]);
        const entryId = made.disks.find(({ path }) => path === it.sharedPath)?.setSnapshotId;
        expect(during.entries.find(({ snapshotId }) => snapshotId === entryId)?.path).toBeTruthy();
        await it.host.destroyRecoveryCheckpoint(made.snapshotCollectionId);
        await it.host.destroyRecoveryCheckpoint(made.snapshotCollectionId);
        expect(await it.host.findRecoveryCheckpoints(it.members)).toEqual([]);
        expect((await it.host.getVhdSetInformation(it.sharedPath)).chain).toHaveLength(1);
      },
    );

    on(
      "ONE storage snapshot holds every path, is found by its tag, and can be released twice",
      async (it) => {
        const { disks } = await checkpoint(it, "run-1");
        const paths = disks.map(({ staticPath }) => staticPath);
        const made = await it.host.createStorageSnapshot({ tag: "run-1", paths });
        for (const path of paths) {
          expect(
            made.volumes.some(({ directory }) => path.toLowerCase().startsWith(directory.toLowerCase())),
          ).toBe(true);
        }
        for (const { exposedAs } of made.volumes) expect(exposedAs).not.toBe("");
        const found = await it.host.findStorageSnapshots();
        expect(found.map(({ tag, storageSnapshotId }) => ({ tag, storageSnapshotId }))).toEqual([
          { tag: "run-1", storageSnapshotId: made.storageSnapshotId },
        ]);
        await it.host.releaseStorageSnapshot(made.storageSnapshotId);
        await it.host.releaseStorageSnapshot(made.storageSnapshotId);
        expect(await it.host.findStorageSnapshots()).toEqual([]);
      },
    );

    on(
      "converting a checkpoint leaves no checkpoint, a merged set, and a reference without data",
      async (it) => {
        const { disks } = await checkpoint(it, "run-1");
        const [{ snapshotCollectionId } = { snapshotCollectionId: "" }] =
          await it.host.findRecoveryCheckpoints(it.members);
        const made = await it.host.convertToReferencePoint(snapshotCollectionId);
        expect(made.tag).toBe("run-1");
        expect(made.disks.map(({ diskId }) => diskId).sort()).toEqual(
          disks.map(({ diskId }) => diskId).sort(),
        );
        expect(await it.host.findRecoveryCheckpoints(it.members)).toEqual([]);
        const set = await it.host.getVhdSetInformation(it.sharedPath);
        expect(set.chain).toHaveLength(1);
        const shared = disks.find(({ path }) => path === it.sharedPath);
        const point = made.disks.find(({ diskId }) => diskId === shared?.diskId);
        expect(point?.id).toBe(shared?.setSnapshotId);
        expect(set.entries).toContainEqual(
          expect.objectContaining({ snapshotId: point?.id, path: null, rctId: point?.rctId }),
        );
      },
    );

    on("a reference point is found again with the same ids, and destroying it twice is fine", async (it) => {
      const made = await reference(it, "run-1");
      const found = await it.host.findReferencePoints(it.members);
      expect(found).toHaveLength(1);
      expect(found[0]?.referencePointCollectionId).toBe(made.referencePointCollectionId);
      const ids = (disks: typeof made.disks): string[] =>
        disks.map((disk) => `${disk.diskId} ${disk.id} ${disk.rctId}`).sort();
      expect(ids(found[0]?.disks ?? [])).toEqual(ids(made.disks));
      await it.host.destroyReferencePoint(made.referencePointCollectionId);
      await it.host.destroyReferencePoint(made.referencePointCollectionId);
      expect(await it.host.findReferencePoints(it.members)).toEqual([]);
      expect((await it.host.getVhdSetInformation(it.sharedPath)).entries).toEqual([]);
    });

    on(
      "changes between two reference points come ascending, inside of what was asked, and with progress",
      async (it) => {
        const first = await reference(it, "run-1");
        await it.write?.();
        const second = await reference(it, "run-2");
        const [vm] = await it.host.getVirtualMachines(it.members);
        const diskId = vm?.disks.find(({ path }) => path === it.sharedPath)?.diskId;
        const since = first.disks.find((disk) => disk.diskId === diskId)!;
        const until = second.disks.find((disk) => disk.diskId === diskId)!;
        const range = { offsetBytes: 0, lengthBytes: it.sharedBytes };
        const page = await it.host.getDiskChanges({ path: it.sharedPath, since, until, range });
        expect(page.processedBytes).toBeGreaterThan(0);
        expect(page.processedBytes).toBeLessThanOrEqual(range.lengthBytes);
        let end = 0;
        for (const { offsetBytes, lengthBytes } of page.ranges) {
          expect(offsetBytes).toBeGreaterThanOrEqual(end);
          expect(lengthBytes).toBeGreaterThan(0);
          end = offsetBytes + lengthBytes;
        }
        expect(end).toBeLessThanOrEqual(page.processedBytes);
        expect(page.ranges.length).toBeGreaterThan(0);
      },
    );

    on("changes since a reference that is not there are refused, never answered with nothing", async (it) => {
      const made = await reference(it, "run-1");
      const [vm] = await it.host.getVirtualMachines(it.members);
      const diskId = vm?.disks.find(({ path }) => path === it.sharedPath)?.diskId;
      const until = made.disks.find((disk) => disk.diskId === diskId)!;
      const since = { id: "00000000-dead-4000-8000-000000000000", rctId: "rctX:dead:0" };
      const range = { offsetBytes: 0, lengthBytes: it.sharedBytes };
      const error = await rejection(it.host.getDiskChanges({ path: it.sharedPath, since, until, range }));
      expect(error.code).toBe("REFERENCE_POINT_LOST");
    });

    on(
      "a host that is well has no leftovers; a checkpoint that is there is one, until it is removed",
      async (it) => {
        expect(await it.host.findLeftovers(it.members)).toEqual([]);
        const made = await checkpoint(it, "run-1");
        const left = await it.host.findLeftovers(it.members);
        expect(left).toContainEqual(
          expect.objectContaining({ kind: "recovery-checkpoint", id: made.snapshotCollectionId }),
        );
        await it.host.destroyRecoveryCheckpoint(made.snapshotCollectionId);
        expect(await it.host.findLeftovers(it.members)).toEqual([]);
      },
    );

    on("a checkpoint that does not exist cannot be converted", async ({ host }) => {
      const error = await rejection(host.convertToReferencePoint("00000000-dead-4000-8000-000000000000"));
      expect(error.message).not.toBe("");
    });
  });
}
