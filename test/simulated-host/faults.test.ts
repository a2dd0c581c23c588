import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { VmId } from "../../lib/contracts/index.ts";
import {
  checkEstate,
  connectSimulatedHost,
  createEstate,
  startSimulatedHost,
} from "../../lib/simulated-host/index.ts";
import { RunningEstate } from "../../lib/simulated-host/host/running-estate.ts";
import { simulatedHyperVHost } from "../../lib/simulated-host/host/simulated-host.ts";
import { SMALL, startLab, takePoint, temporaryFolder, type Lab } from "./lab.ts";

const asked = (lab: Lab, deadlineMs: number) =>
  lab.host.createRecoveryCheckpoint({
    collectionId: lab.collectionId,
    tag: "run-1",
    consistency: "application",
    deadlineMs,
  });

async function expectNothingLeft(lab: Lab): Promise<void> {
  expect(await lab.host.findRecoveryCheckpoints(lab.members)).toEqual([]); // waits for what is under way
  expect(await lab.host.findLeftovers(lab.members)).toEqual([]);
  const { members } = await lab.status();
  expect(members.filter(({ isFrozen }) => isFrozen)).toEqual([]);
  const machine = (await lab.host.getVirtualMachines(lab.members))[0]!;
  expect((await lab.host.getVhdSetInformation(machine.disks[0]!.path)).chain).toHaveLength(1);
  await lab.writeOn(3);
}

describe("a freeze", () => {
  test("that hangs is ended by the host at the deadline: the members run on and nothing is left", async () => {
    const lab = await startLab();
    await lab.faults({ kind: "freeze-hangs", vmId: lab.members[1]! });
    await expect(asked(lab, 150)).rejects.toMatchObject({
      code: "QUIESCE_TIMED_OUT",
      message: expect.stringContaining("sql-02") as string,
    });
    await lab.faults();
    await expectNothingLeft(lab);
    expect((await asked(lab, 30_000)).members).toHaveLength(3);
  });

  test("ends at the deadline although the caller is gone", async () => {
    const lab = await startLab();
    await lab.faults({ kind: "freeze-hangs", vmId: lab.members[2]!, times: 1 });
    const leaving = new AbortController();
    const body = {
      collectionId: lab.collectionId,
      tag: "run-1",
      consistency: "application",
      deadlineMs: 400,
    };
    const call = fetch(`${lab.url}/v1/createRecoveryCheckpoint`, {
      method: "POST",
      body: JSON.stringify([body]),
      signal: leaving.signal,
    });
    await vi.waitUntil(async () => (await lab.status()).members.some(({ isFrozen }) => isFrozen), 20_000);
    leaving.abort();
    await expect(call).rejects.toThrow();
    await expectNothingLeft(lab); // its questions wait for the end of what is under way
  });

  test("that comes too late for the deadline leaves nothing, however far it got", async () => {
    const lab = await startLab({ freezeMs: [10, 15, 20] });
    for (let deadlineMs = 1; deadlineMs < 60; deadlineMs += 4) {
      const ended = await asked(lab, deadlineMs).then(
        ({ snapshotCollectionId }) => snapshotCollectionId,
        (error: unknown) => error,
      );
      if (typeof ended === "string") await lab.host.destroyRecoveryCheckpoint(ended);
      else expect(ended).toMatchObject({ code: "QUIESCE_TIMED_OUT" });
      await expectNothingLeft(lab);
    }
  });

  test("whose VSS writers fail is refused, but crash-consistent it works", async () => {
    const lab = await startLab();
    await lab.faults({ kind: "vss-failed", vmId: lab.members[0]! });
    await expect(asked(lab, 30_000)).rejects.toMatchObject({ code: "QUIESCE_FAILED" });
    await expectNothingLeft(lab);
    const { checkpoint } = await takePoint(lab, "run-2", "crash");
    expect(checkpoint.members.every(({ consistency }) => consistency === "crash")).toBe(true);
  });

  test("of a slow member makes the others wait for it", async () => {
    const lab = await startLab();
    await lab.faults({ kind: "freeze-slow", vmId: lab.members[1]!, ms: 120, times: 1 });
    const [first, slow, third] = (await asked(lab, 30_000)).members;
    expect(slow!.frozenMs).toBeLessThan(first!.frozenMs);
    expect(slow!.frozenMs).toBeLessThan(third!.frozenMs);
  });

  test("with a member that is off is refused", async () => {
    const lab = await startLab();
    await lab.faults({ kind: "member-off", vmId: lab.members[0]! });
    await expect(asked(lab, 30_000)).rejects.toMatchObject({ code: "QUIESCE_FAILED" });
    await expectNothingLeft(lab);
  });
});

test("a host that is told to stop does not wait for a freeze that hangs", async () => {
  const lab = await startLab();
  await lab.faults({ kind: "freeze-hangs", vmId: lab.members[1]! });
  const hanging = expect(asked(lab, 3_600_000)).rejects.toMatchObject({ code: "CANCELLED" });
  await vi.waitUntil(async () => (await lab.status()).members.some(({ isFrozen }) => isFrozen), 20_000);
  await lab.stop();
  await hanging;
  expect(await checkEstate(lab.folder, { consistency: "application" })).toMatchObject({ violations: [] });
});

describe("what fails later", () => {
  test("a storage snapshot that fails leaves no copy, and the next one works", async () => {
    const lab = await startLab();
    await lab.faults({ kind: "storage-snapshot-fails", times: 1 });
    await expect(takePoint(lab, "run-1")).rejects.toMatchObject({ code: "STORAGE_SNAPSHOT_FAILED" });
    expect(await lab.host.findStorageSnapshots()).toEqual([]);
    expect((await takePoint(lab, "run-1")).snapshot.volumes).toHaveLength(2);
  });

  test("a storage snapshot of a path that is on no volume is refused", async () => {
    const lab = await startLab();
    await expect(
      lab.host.createStorageSnapshot({ tag: "x", paths: ["/etc/hostname"] }),
    ).rejects.toMatchObject({
      code: "STORAGE_SNAPSHOT_FAILED",
    });
  });

  test("a conversion that fails keeps the checkpoint", async () => {
    const lab = await startLab();
    const { checkpoint } = await takePoint(lab, "run-1");
    await lab.faults({ kind: "convert-fails", times: 1 });
    const convert = () => lab.host.convertToReferencePoint(checkpoint.snapshotCollectionId);
    await expect(convert()).rejects.toMatchObject({ code: "HYPERV_CALL_FAILED" });
    expect(await lab.host.findRecoveryCheckpoints(lab.members)).toEqual([checkpoint]);
    expect((await convert()).tag).toBe("run-1");
  });

  test("a merge that fails shows as files left over, and asking again finishes it", async () => {
    const lab = await startLab();
    const { checkpoint, snapshot } = await takePoint(lab, "run-1");
    await lab.host.releaseStorageSnapshot(snapshot.storageSnapshotId);
    await lab.faults({ kind: "merge-fails", times: 1 });
    const convert = () => lab.host.convertToReferencePoint(checkpoint.snapshotCollectionId);
    await expect(convert()).rejects.toMatchObject({ code: "MERGE_UNFINISHED" });
    const found = await lab.host.findLeftovers(lab.members);
    expect(found.map(({ kind }) => kind)).toEqual([
      "orphan-avhdx",
      "orphan-avhdx",
      "orphan-avhdx",
      "orphan-avhdx",
    ]);
    await convert();
    expect(await lab.host.findLeftovers(lab.members)).toEqual([]);
  });

  test("any call can be made to fail or to take long, so many times as wanted", async () => {
    const lab = await startLab();
    await lab.faults(
      { kind: "call-fails", method: "getReadiness", times: 2 },
      { kind: "call-slow", method: "describe", ms: 500 },
    );
    const calls = await Promise.allSettled([1, 2, 3].map(() => lab.host.getReadiness(lab.members)));
    expect(calls.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected", "rejected"]);
    const order: string[] = [];
    await Promise.all([
      lab.host.describe().then(() => order.push("slow")),
      lab.host.getVirtualMachines([]).then(() => order.push("quick")),
    ]);
    expect(order).toEqual(["quick", "slow"]);
  });

  test("a call that takes long is under way: questions about what it makes wait for it", async () => {
    const lab = await startLab();
    await lab.faults({ kind: "call-slow", method: "createRecoveryCheckpoint", ms: 300, times: 1 });
    const body = {
      collectionId: lab.collectionId,
      tag: "run-1",
      consistency: "application",
      deadlineMs: 30_000,
    };
    const leaving = new AbortController();
    const call = fetch(`${lab.url}/v1/createRecoveryCheckpoint`, {
      method: "POST",
      body: JSON.stringify([body]),
      signal: leaving.signal,
    });
    const isTaken = async () => {
      const { faults } = (await (await fetch(`${lab.url}/faults`)).json()) as {
        readonly faults: readonly unknown[];
      };
      return faults.length === 0;
    };
    await vi.waitUntil(isTaken, 20_000);
    leaving.abort();
    await expect(call).rejects.toThrow();
    expect(await lab.host.findRecoveryCheckpoints(lab.members)).toMatchObject([{ tag: "run-1" }]);
  });

  test.each([
    ["tracking-lost", "REFERENCE_POINT_LOST"],
    ["tracking-disabled", "TRACKING_DISABLED"],
  ] as const)("%s is answered with %s, never with no changes", async (kind, code) => {
    const lab = await startLab();
    const points = [];
    for (const tag of ["run-1", "run-2"]) {
      const { checkpoint } = await takePoint(lab, tag);
      points.push(await lab.host.convertToReferencePoint(checkpoint.snapshotCollectionId));
    }
    const [since, until] = points.map(({ disks }) => disks[1]!);
    const { path } = (await lab.host.getVirtualMachines(lab.members))[0]!.disks[1]!;
    await lab.faults({ kind, diskId: since!.diskId, times: 1 });
    const question = { path, since: since!, until: until!, range: { offsetBytes: 0, lengthBytes: 65_536 } };
    await expect(lab.host.getDiskChanges(question)).rejects.toMatchObject({ code });
  });
});

describe("leftovers", () => {
  test("are checkpoints, storage snapshots, files of nobody and members that stand still", async () => {
    const folder = join(await temporaryFolder(), "estate");
    const { members } = await createEstate({ ...SMALL, folder });
    const estate = await RunningEstate.start(folder, () => undefined);
    try {
      const host = simulatedHyperVHost(estate);
      const vmIds = members.map(({ vmId }) => vmId);
      const collectionId = await host.ensureCollection("c", vmIds);
      const checkpoint = await host.createRecoveryCheckpoint({
        collectionId,
        tag: "left",
        consistency: "application",
        deadlineMs: 30_000,
      });
      const paths = checkpoint.disks.map(({ staticPath }) => staticPath);
      const snapshot = await host.createStorageSnapshot({ tag: "left", paths });
      const orphan = join(dirname(paths[0]!), "sql-data_00000000-0000-0000-0000-000000000000.avhdx");
      await writeFile(orphan, "");
      await estate.member(vmIds[1]!).freeze("application");
      const found = await host.findLeftovers(vmIds);
      expect(found.map(({ kind, id }) => [kind, id])).toEqual([
        ["recovery-checkpoint", checkpoint.snapshotCollectionId],
        ["storage-snapshot", snapshot.storageSnapshotId],
        ["orphan-avhdx", orphan],
        ["frozen-member", vmIds[1]],
      ]);
      expect(found.every(({ remedy }) => remedy.length > 10)).toBe(true);
    } finally {
      await estate.close();
    }
  });
});

describe("what a preflight asks", () => {
  let running: Awaited<ReturnType<typeof startSimulatedHost>>;
  let lab: Pick<Lab, "host" | "members"> & { readonly folder: string };
  const faults = async (...list: object[]) => {
    const response = await fetch(`${running.url}/faults`, {
      method: "POST",
      body: JSON.stringify({ faults: list }),
    });
    expect(response.status).toBe(200);
  };
  const cleanUp: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    const { mkdtemp, rm } = await import("node:fs/promises");
    const { tmpdir } = await import("node:os");
    const base = await mkdtemp(join(tmpdir(), "gcb-preflight-"));
    const folder = join(base, "estate");
    const { members } = await createEstate({ ...SMALL, folder });
    running = await startSimulatedHost({ folder });
    cleanUp.push(
      () => running.close(),
      () => rm(base, { recursive: true }),
    );
    lab = { host: connectSimulatedHost(running), members: members.map(({ vmId }) => vmId), folder };
  });
  afterAll(async () => {
    for (const each of cleanUp) await each();
  });
  beforeEach(() => faults());

  const second = (): VmId => lab.members[1]!;
  const machine = async () =>
    (await lab.host.getVirtualMachines(lab.members)).find(({ vmId }) => vmId === second());
  const clusters = () => lab.host.getGuestClusterInformation(lab.members);
  const sharedViews = async () => (await clusters()).flatMap(({ sharedDisks }) => sharedDisks);

  test("is answered for a sound estate so that nothing is found", async () => {
    expect(await machine()).toMatchObject({
      name: "sql-02",
      state: "running",
      vssStatus: "ok",
      checkpoints: [],
    });
    const views = await clusters();
    expect(new Set(views.map(({ clusterId }) => clusterId)).size).toBe(1);
    expect(views.map(({ clusterSize }) => clusterSize)).toEqual([3, 3, 3]);
    const disks = await sharedViews();
    expect(disks.filter(({ isOwned }) => isOwned)).toHaveLength(1);
    expect(disks.every((disk) => disk.isClustered && disk.isOnline && !disk.isActiveActive)).toBe(true);
    const { configStoreRootPath, volumes, missingFolderRights } = await lab.host.getReadiness(lab.members);
    expect(configStoreRootPath).not.toBeNull();
    expect(volumes.every(({ freeBytes, usedBytes }) => freeBytes > 0 && usedBytes > 0)).toBe(true);
    expect(missingFolderRights).toEqual([]);
    expect(await lab.host.describe()).toMatchObject({ implementation: "simulated" });
  });

  test("a member that is off, missing, or of an old version", async () => {
    await faults({ kind: "member-off", vmId: second() });
    expect(await machine()).toMatchObject({ state: "off" });
    await faults({ kind: "member-missing", vmId: second() });
    expect(await machine()).toBeUndefined();
    await faults({ kind: "configuration-version", vmId: second(), version: "5.0" });
    expect(await machine()).toMatchObject({ configurationVersion: "5.0" });
  });

  test.each(["degraded", "incompatible", "no-contact", "lost-communication"])(
    "VSS status %s",
    async (status) => {
      await faults({ kind: "vss-status", vmId: second(), status });
      expect(await machine()).toMatchObject({ vssStatus: status });
    },
  );

  test("a user checkpoint, and a recovery checkpoint of another product", async () => {
    await faults(
      { kind: "user-checkpoint", vmId: second() },
      { kind: "foreign-recovery-checkpoint", vmId: second() },
    );
    expect((await machine())?.checkpoints.map(({ kind }) => kind)).toEqual(["user", "recovery"]);
  });

  test("a member of no guest cluster, of another one, and a cluster of another size", async () => {
    await faults({ kind: "no-guest-cluster", vmId: second() });
    expect((await clusters())[1]!.clusterId).toBeNull();
    await faults({ kind: "other-guest-cluster", vmId: second() });
    expect(new Set((await clusters()).map(({ clusterId }) => clusterId)).size).toBe(2);
    await faults({ kind: "guest-cluster-size", size: 4 });
    expect((await clusters())[0]!.clusterSize).toBe(4);
  });

  test("a shared disk that is not clustered, offline, a CSV, or owned by none or two", async () => {
    await faults({ kind: "shared-disk", state: "not-clustered" });
    expect((await sharedViews()).every(({ isClustered }) => !isClustered)).toBe(true);
    await faults({ kind: "shared-disk", state: "offline" });
    expect((await sharedViews()).every(({ isOnline }) => !isOnline)).toBe(true);
    await faults({ kind: "shared-disk", state: "active-active" });
    expect((await sharedViews()).every(({ isActiveActive }) => isActiveActive)).toBe(true);
    await faults({ kind: "shared-disk", state: "not-owned" });
    expect((await sharedViews()).filter(({ isOwned }) => isOwned)).toHaveLength(0);
    await faults({ kind: "shared-disk", state: "two-owners" });
    expect((await sharedViews()).filter(({ isOwned }) => isOwned)).toHaveLength(2);
  });

  test("a host without config store, with missing rights, with a full volume", async () => {
    await faults(
      { kind: "config-store-unset" },
      { kind: "folder-rights-missing", vmId: second() },
      { kind: "free-space", freeBytes: 4096 },
    );
    const { configStoreRootPath, volumes, missingFolderRights } = await lab.host.getReadiness(lab.members);
    expect(configStoreRootPath).toBeNull();
    expect(volumes.map(({ freeBytes }) => freeBytes)).toEqual([4096, 4096]);
    expect(missingFolderRights.map(({ vmId }) => vmId)).toEqual([second(), second()]);
  });
});

describe("the wire", () => {
  test("refuses what it does not know and stays up", async () => {
    const lab = await startLab();
    const post = (path: string, body: string) => fetch(`${lab.url}${path}`, { method: "POST", body });
    for (const [path, body] of [
      ["/v1/launchMissiles", "[]"],
      ["/v1/__proto__", "[]"],
      ["/v1/describe", "{"],
      ["/v1/getVirtualMachines", '["no id"]'],
      ["/v1/createRecoveryCheckpoint", "[{}]"],
      ["/faults", '{"faults":[{"kind":"unheard-of"}]}'],
      ["/v1/describe", " ".repeat(2_000_000)],
    ] as const) {
      expect((await post(path, body)).status, path).toBe(400);
    }
    expect((await fetch(`${lab.url}/`)).status).toBe(400);
    expect(await lab.host.describe()).toMatchObject({ implementation: "simulated" });
  });

  test("a host that is gone is named as such", async () => {
    const lab = await startLab();
    await lab.stop();
    await expect(lab.host.describe()).rejects.toMatchObject({
      code: "SIMULATED_HOST_UNREACHABLE",
      retry: "later",
    });
  });
});
