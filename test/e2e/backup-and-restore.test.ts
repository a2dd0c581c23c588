import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunRecord } from "../../lib/contracts/index.ts";
import { checkRestoredWriters } from "../../lib/cli/demo/restored-writers.ts";
import { chooseVictim, CORRUPTIBLE, flipOneBit } from "../../lib/cli/demo/corrupt.ts";
import type { Estate } from "../../lib/cli/estate/estate.ts";
import { connectSimulatedHost } from "../../lib/simulated-host/index.ts";
import { installation } from "./installation.ts";

const signal = AbortSignal.timeout(9 * 60_000);
let estate: Estate;

beforeAll(async () => {
  estate = await installation();
}, 120_000);
afterAll(() => estate[Symbol.asyncDispose](), 60_000);

async function backUp(): Promise<RunRecord> {
  const run = await estate.controlPlane.startBackup(estate.cluster.id);
  return estate.controlPlane.follow(run, () => undefined, signal);
}

async function restore(restorePoint: string, folder: string): Promise<RunRecord> {
  const targetDirectory = join(estate.restoreRoot, folder);
  const run = await estate.controlPlane.startRestore(estate.cluster.id, { restorePoint, targetDirectory });
  return estate.controlPlane.follow(run, () => undefined, signal);
}

describe("over HTTP, relay and Azurite", () => {
  test("a first backup is full, a second incremental; each takes one storage snapshot and leaves nothing", async () => {
    const first = await backUp();
    const second = await backUp();
    expect(first).toMatchObject({ state: "committed", leftovers: [], point: { storageSnapshots: 1 } });
    expect(second).toMatchObject({ state: "committed", leftovers: [], point: { storageSnapshots: 1 } });
    expect(first.disks?.every(({ source }) => source.kind === "full")).toBe(true);
    expect(second.disks?.every(({ source }) => source.kind === "rct")).toBe(true);
    for (const { sizes } of second.disks ?? []) {
      expect(sizes.readBytes).toBeLessThanOrEqual(1.5 * sizes.changedChunkBytes);
    }
    const host = connectSimulatedHost({ url: estate.simulatedHostUrl });
    expect(await host.findLeftovers(estate.cluster.members)).toEqual([]);
  }, 180_000);

  test("both points restore: digests equal, writers' rules whole; a second restore to the same place is refused", async () => {
    const restorePoints = [(await backUp()).restorePoint, (await backUp()).restorePoint];
    for (const [index, restorePoint] of restorePoints.entries()) {
      const record = await restore(restorePoint ?? "", `point-${String(index)}`);
      expect(record).toMatchObject({ state: "restored" });
      expect(record.restored?.length).toBe(4);
      expect(record.restored?.every(({ identical }) => identical)).toBe(true);
      expect(await checkRestoredWriters(record.restored ?? [])).toMatchObject({ isConsistent: true });
    }
    const again = await restore(restorePoints[0] ?? "", "point-0");
    expect(again).toMatchObject({ state: "failed" });
    expect(again.error?.code).toMatch(/^RESTORE_/);
  }, 240_000);

  test("two starts at once: one runs, the other is told which", async () => {
    const starts = await Promise.allSettled([
      estate.controlPlane.startBackup(estate.cluster.id),
      estate.controlPlane.startBackup(estate.cluster.id),
    ]);
    const started = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
    const refused = starts
      .filter((start) => start.status === "rejected")
      .map(({ reason }): unknown => reason);
    expect(started).toHaveLength(1);
    expect(refused).toHaveLength(1);
    expect(refused[0]).toMatchObject({
      facts: { status: 409, code: "GUEST_CLUSTER_BUSY" },
      message: expect.stringContaining(started[0]!.runId) as string,
    });
    const record = await estate.controlPlane.follow(started[0]!, () => undefined, signal);
    expect(record.state).toBe("committed");
  }, 120_000);

  test("history holds no secret: neither SAS nor keys stand in any instance", async () => {
    const { url } = estate.controlPlane;
    const run = await estate.controlPlane.startBackup(estate.cluster.id);
    await estate.controlPlane.follow(run, () => undefined, signal);
    const status = new URL(run.statusQueryGetUri);
    const all = new URL("/runtime/webhooks/durabletask/instances", url);
    all.search = status.search;
    for (const [name, value] of Object.entries({
      showHistory: "true",
      showHistoryOutput: "true",
      showInput: "true",
    })) {
      all.searchParams.set(name, value);
    }
    const text = await (await fetch(all)).text();
    expect(text).toContain("driveOperation");
    expect(text).not.toMatch(/[?&]sig=|AccountKey|gcb[cw]1_/);
  }, 120_000);
});

describe("bad requests", () => {
  async function request(method: string, path: string, body?: string) {
    const headers = { "x-functions-key": estate.functionKey };
    const response = await fetch(new URL(path, estate.controlPlane.url), {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
    });
    const answer: unknown = await response.json().catch(() => undefined);
    return { status: response.status, body: answer };
  }

  const cluster = "/api/guest-clusters/sql-fci";
  test.each([
    [
      "a guest cluster nobody configured",
      "POST",
      "/api/guest-clusters/nobody/backups",
      "{}",
      404,
      "GUEST_CLUSTER_UNKNOWN",
    ],
    ["an id that is no id", "POST", "/api/guest-clusters/..%2f..%2fetc/backups", "{}", 400, "INPUT_INVALID"],
    ["a body that is not JSON", "POST", `${cluster}/backups`, "{", 400, "INPUT_INVALID"],
    [
      "a kind of backup that does not exist",
      "POST",
      `${cluster}/backups`,
      '{"requested":"magic"}',
      400,
      "INPUT_INVALID",
    ],
    ["a field nobody knows", "POST", `${cluster}/backups`, '{"force":true}', 400, "INPUT_INVALID"],
    [
      "a body without end",
      "POST",
      `${cluster}/backups`,
      `{"a":"${"x".repeat(100_000)}"}`,
      400,
      "INPUT_INVALID",
    ],
    [
      "a restore without a target",
      "POST",
      `${cluster}/restores`,
      '{"restorePoint":"x"}',
      400,
      "INPUT_INVALID",
    ],
    [
      "a restore point of nobody",
      "POST",
      `${cluster}/restores`,
      '{"restorePoint":"manifests/sql-fci/none","targetDirectory":"/x"}',
      404,
      "RESTORE_POINT_UNKNOWN",
    ],
    ["a run that is no run", "GET", "/api/runs/../../x", undefined, 404, undefined],
    ["a run nobody started", "GET", "/api/runs/20200101t000000z-00000000", undefined, 404, "RUN_UNKNOWN"],
  ])("%s is answered with a problem document", async (_what, method, path, body, status, code) => {
    const answer = await request(method, path, body);
    expect(answer.status).toBe(status);
    if (code !== undefined) expect(answer.body).toMatchObject({ code, status });
  });

  test("without the key nothing is started", async () => {
    const response = await fetch(new URL(`${cluster}/backups`, estate.controlPlane.url), { method: "POST" });
    expect(response.status).toBe(401);
  });
});

describe.each(CORRUPTIBLE)("one flipped bit in a stored %s", (kind) => {
  test("ends the restore with a code that names the object; the disk that needs it gets no file", async () => {
    const { restorePoint = "" } = await backUp();
    const victim = await chooseVictim(estate.container, kind, restorePoint);
    await flipOneBit(estate.container, victim);
    const record = await restore(restorePoint, `damaged-${kind}`);
    await flipOneBit(estate.container, victim);
    expect(record.state).toBe("failed");
    expect(record.error).toMatchObject({ code: "REPOSITORY_OBJECT_DAMAGED", facts: { object: victim } });
    expect(record.restored).toBeUndefined();
    const left = await readdir(join(estate.restoreRoot, `damaged-${kind}`)).catch(() => []);
    expect(left.filter((name) => !name.endsWith(".vhdx"))).toEqual([]);
    expect(left.length).toBeLessThan(4);
  }, 120_000);
});
