import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import type { HyperVHost, ReferencePointCollection } from "../../lib/agent/hyperv-host.ts";
import type { VmId } from "../../lib/contracts/index.ts";
import {
  checkEstate,
  connectSimulatedHost,
  createEstate,
  setFaults,
} from "../../lib/simulated-host/index.ts";
import { SMALL, temporaryFolder } from "./lab.ts";

const MAIN = resolve(import.meta.dirname, "../../lib/cli/main.ts");

interface Process {
  readonly child: ChildProcess;
  readonly url: string;
  readonly host: HyperVHost;
}

/** The host as it is in the field: a process of its own. */
async function spawnHost(folder: string): Promise<Process> {
  const child = spawn(process.execPath, [MAIN, "simulated-host", "run", "--folder", folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  for await (const line of createInterface({ input: child.stdout })) {
    const { url } = JSON.parse(line) as { readonly url: string };
    return { child, url, host: connectSimulatedHost({ url }) };
  }
  throw new Error("the host ended before it was ready");
}

async function kill({ child }: Process): Promise<void> {
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

/** Backups one after another until the host is gone. */
async function backUpUntilGone(host: HyperVHost, vmIds: readonly VmId[]): Promise<void> {
  try {
    const collectionId = await host.ensureCollection("c", vmIds);
    for (const { snapshotCollectionId } of await host.findRecoveryCheckpoints(vmIds)) {
      await host.destroyRecoveryCheckpoint(snapshotCollectionId);
    }
    for (const { storageSnapshotId } of await host.findStorageSnapshots()) {
      await host.releaseStorageSnapshot(storageSnapshotId);
    }
    for (let run = 0; ; run++) {
      const tag = `${Date.now()}-${run}`;
      const consistency = run % 2 === 0 ? "application" : "crash";
      const request = { collectionId, tag, consistency, deadlineMs: 30_000 } as const;
      const checkpoint = await host.createRecoveryCheckpoint(request);
      const paths = checkpoint.disks.map(({ staticPath }) => staticPath);
      const { storageSnapshotId } = await host.createStorageSnapshot({ tag, paths });
      if (run % 3 === 2) await host.destroyRecoveryCheckpoint(checkpoint.snapshotCollectionId);
      else await host.convertToReferencePoint(checkpoint.snapshotCollectionId);
      await host.releaseStorageSnapshot(storageSnapshotId);
    }
  } catch (error) {
    expect(error).toMatchObject({ code: "SIMULATED_HOST_UNREACHABLE" });
  }
}

test("a host that is killed at any moment leaves chains that open, consistent disks and an orderly estate", async () => {
  const folder = join(await temporaryFolder(), "estate");
  const { members } = await createEstate({ ...SMALL, folder });
  const vmIds = members.map(({ vmId }) => vmId);
  let transactions = 0;
  for (let round = 0; round < 6; round++) {
    const running = await spawnHost(folder);
    const backups = backUpUntilGone(running.host, vmIds);
    await sleep(150 + ((round * 211) % 700)); // a different step each time
    await kill(running);
    await backups;
    const check = await checkEstate(folder);
    expect(check.violations).toEqual([]);
    expect(check.lastTransaction).toBeGreaterThanOrEqual(transactions);
    transactions = check.lastTransaction;
  }
  const { host, child } = await spawnHost(folder);
  for (const left of await host.findLeftovers(vmIds)) {
    expect(["recovery-checkpoint", "storage-snapshot"]).toContain(left.kind);
    if (left.kind === "recovery-checkpoint") await host.destroyRecoveryCheckpoint(left.id);
    else await host.releaseStorageSnapshot(left.id);
  }
  expect(await host.findLeftovers(vmIds)).toEqual([]);
  child.kill("SIGTERM");
  await once(child, "exit");
  expect(child.exitCode).toBe(0);
  const check = await checkEstate(folder, { consistency: "application" });
  expect(check.violations).toEqual([]);
  expect(check.lastTransaction).toBeGreaterThan(0);
});

test("what changed over a power cut is lost, never nothing, and the next pair of points is tracked again", async () => {
  const folder = join(await temporaryFolder(), "estate");
  const { members } = await createEstate({ ...SMALL, folder });
  const vmIds = members.map(({ vmId }) => vmId);
  const point = async (host: HyperVHost, tag: string): Promise<ReferencePointCollection> => {
    const collectionId = await host.ensureCollection("c", vmIds);
    const request = { collectionId, tag, consistency: "application", deadlineMs: 30_000 } as const;
    const { snapshotCollectionId } = await host.createRecoveryCheckpoint(request);
    return host.convertToReferencePoint(snapshotCollectionId);
  };
  const first = await spawnHost(folder);
  const before = await point(first.host, "run-1");
  await kill(first);

  const { host } = await spawnHost(folder);
  const [after, later] = [await point(host, "run-2"), await point(host, "run-3")];
  const { disks } = (await host.getVirtualMachines(vmIds))[0]!;
  for (const { path, diskId } of disks) {
    const of = (collection: ReferencePointCollection) =>
      collection.disks.find((disk) => disk.diskId === diskId)!;
    const range = { offsetBytes: 0, lengthBytes: 1_048_576 };
    for (const until of [after, later]) {
      await expect(
        host.getDiskChanges({ path, since: of(before), until: of(until), range }),
      ).rejects.toMatchObject({ code: "REFERENCE_POINT_LOST" });
    }
    const known = await host.getDiskChanges({ path, since: of(after), until: of(later), range });
    expect(known.processedBytes).toBe(range.lengthBytes);
  }
});

test.each([
  ["createRecoveryCheckpoint", "before", 0],
  ["createRecoveryCheckpoint", "after", 1],
] as const)("a power cut on call: %s %s", async (method, when, checkpoints) => {
  const folder = join(await temporaryFolder(), "estate");
  const { members } = await createEstate({ ...SMALL, folder });
  const vmIds = members.map(({ vmId }) => vmId);
  const first = await spawnHost(folder);
  const collectionId = await first.host.ensureCollection("c", vmIds);
  await setFaults(first, [{ kind: "power-cut", method, when }]);
  const request = { collectionId, tag: "run-1", consistency: "application", deadlineMs: 30_000 } as const;
  await expect(first.host.createRecoveryCheckpoint(request)).rejects.toMatchObject({
    code: "SIMULATED_HOST_UNREACHABLE",
  });
  const { host } = await spawnHost(folder);
  expect(await host.findRecoveryCheckpoints(vmIds)).toHaveLength(checkpoints);
  const made = await host.createRecoveryCheckpoint(request); // the same tag: finds it, or makes it
  expect(await host.findRecoveryCheckpoints(vmIds)).toEqual([made]);
});
