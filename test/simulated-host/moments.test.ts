import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { HyperVHost } from "../../lib/agent/hyperv-host.ts";
import type { VmId } from "../../lib/contracts/index.ts";
import { FolderFiles } from "../../lib/simulated-host/disks/folder-files.ts";
import { RunningEstate } from "../../lib/simulated-host/host/running-estate.ts";
import { simulatedHyperVHost } from "../../lib/simulated-host/host/simulated-host.ts";
import { checkWriterDisks, createEstate } from "../../lib/simulated-host/index.ts";
import { Member } from "../../lib/simulated-host/writers/member.ts";
import { SMALL, temporaryFolder } from "./lab.ts";

/** A host in this process, so that a moment can be held. */
async function startHere(): Promise<{
  estate: RunningEstate;
  host: HyperVHost;
  vmIds: VmId[];
  collectionId: string;
}> {
  const folder = join(await temporaryFolder(), "estate");
  const { members } = await createEstate({ ...SMALL, folder });
  const estate = await RunningEstate.start(folder, () => undefined);
  onTestFinished(() => estate.close());
  const host = simulatedHyperVHost(estate);
  const vmIds = members.map(({ vmId }) => vmId);
  return { estate, host, vmIds, collectionId: await host.ensureCollection("c", vmIds) };
}

describe("a member", () => {
  /** A disk whose next call is answered when the test says so. */
  function heldMember() {
    const held: PromiseWithResolvers<void> = Promise.withResolvers();
    const flushes: string[] = [];
    const disk = (name: string) => ({
      sizeBytes: 0,
      read: () => Promise.resolve(),
      write: () => held.promise,
      flush: () => {
        flushes.push(name);
        return Promise.resolve();
      },
    });
    return { member: new Member(0, { shared: disk("shared"), private: disk("private") }), held, flushes };
  }
  const isSettled = async (promise: Promise<unknown>) => {
    const pending = Symbol();
    await sleep(0);
    return (await Promise.race([promise, Promise.resolve(pending)])) !== pending;
  };

  test("that is frozen for an application-consistent point ends its transaction and flushes both disks first", async () => {
    const { member, held, flushes } = heldMember();
    const second = vi.fn(() => Promise.resolve());
    const transaction = member.transaction(async () => {
      await member.io(() => member.shared.write(0, Buffer.alloc(1)));
      await member.io(second);
    });
    const frozen = member.freeze("application");
    expect(await isSettled(frozen)).toBe(false);
    held.resolve();
    await transaction;
    await frozen;
    expect(second).toHaveBeenCalledOnce();
    expect(flushes.sort()).toEqual(["private", "shared"]);
    const next = member.transaction(() => Promise.resolve());
    expect(await isSettled(next)).toBe(false);
    member.thaw();
    await next;
  });

  test("that is frozen for a crash-consistent point stops between two writes", async () => {
    const { member, held } = heldMember();
    const second = vi.fn(() => Promise.resolve());
    const transaction = member.transaction(async () => {
      await member.io(() => member.shared.write(0, Buffer.alloc(1)));
      await member.io(second);
    });
    const frozen = member.freeze("crash");
    expect(await isSettled(frozen)).toBe(false); // the write that is under way is not torn
    held.resolve();
    await frozen;
    expect(await isSettled(transaction)).toBe(false);
    expect(second).not.toHaveBeenCalled();
    member.thaw();
    await transaction;
  });
});

test("when the deadline passes while the disks are switched, the members run on at once and no checkpoint comes of it", async () => {
  const { estate, host, vmIds, collectionId } = await startHere();
  const [, second] = estate.layout.disks;
  const disk = estate.disk(second!.diskId);
  const prepare = disk.prepareSwitch.bind(disk);
  const released: PromiseWithResolvers<void> = Promise.withResolvers();
  const reached: PromiseWithResolvers<void> = Promise.withResolvers();
  vi.spyOn(disk, "prepareSwitch").mockImplementationOnce(async () => {
    const prepared = await prepare();
    reached.resolve();
    await released.promise;
    return prepared;
  });
  const request = { collectionId, tag: "run-1", consistency: "application", deadlineMs: 1_000 } as const;
  const ended = expect(host.createRecoveryCheckpoint(request)).rejects.toMatchObject({
    code: "QUIESCE_TIMED_OUT",
  });
  await reached.promise;
  await vi.waitUntil(() => vmIds.every((vmId) => !estate.member(vmId).isFrozen), 20_000);
  released.resolve();
  await ended;
  expect(await host.findRecoveryCheckpoints(vmIds)).toEqual([]);
  expect(await host.findLeftovers(vmIds)).toEqual([]);
  for (const { diskId, baseFile } of estate.layout.disks)
    expect(estate.disk(diskId).chain).toEqual([baseFile]);
  const reachedSoFar = estate.writers!.lastTransaction;
  await vi.waitUntil(() => estate.writers!.lastTransaction > reachedSoFar + 3, 20_000);
});

test("a disk that cannot be switched takes the other disks back with it", async () => {
  const { estate, host, vmIds, collectionId } = await startHere();
  const last = estate.disk(estate.layout.disks.at(-1)!.diskId);
  vi.spyOn(last, "prepareSwitch").mockRejectedValueOnce(new Error("no space"));
  const request = { collectionId, tag: "run-1", consistency: "application", deadlineMs: 30_000 } as const;
  await expect(host.createRecoveryCheckpoint(request)).rejects.toThrow("no space");
  expect(await host.findLeftovers(vmIds)).toEqual([]);
  for (const { diskId, baseFile } of estate.layout.disks)
    expect(estate.disk(diskId).chain).toEqual([baseFile]);
  expect((await host.createRecoveryCheckpoint(request)).disks).toHaveLength(4);
});

test("files in use are copied at one instant, however long the copy takes", async () => {
  const { estate, host } = await startHere();
  const last = estate.disk(estate.layout.disks.at(-1)!.diskId);
  const flush = last.flushWhileClosed.bind(last);
  vi.spyOn(last, "flushWhileClosed").mockImplementationOnce(async () => {
    await sleep(300); // the first disks are copied already
    await flush();
  });
  const paths = estate.layout.volumes.map(({ name }) => join(estate.folder, "volumes", name, "any"));
  const { volumes } = await host.createStorageSnapshot({ tag: "loose", paths });
  const disks = [];
  for (const { exposedAs } of volumes) {
    const files = new FolderFiles(exposedAs);
    onTestFinished(() => files[Symbol.asyncDispose]());
    for (const name of await readdir(exposedAs)) {
      if (!name.endsWith(".vhds")) disks.push(await files.chain(basename(name)));
    }
  }
  expect(await checkWriterDisks(disks)).toMatchObject({ consistent: true, violations: [] });
});
