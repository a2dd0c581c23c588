/**
 * How fast is the embedded host? `node bench/local-host.bench.ts`
 *
 * Activities per second in sequence and fanned out, the time from a start over HTTP to the first activity's code, and what
 * a replay of a history of 1,000 events costs. Every commit is flushed to the disk (synchronous=FULL), so the disk counts.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import path from "node:path";
import { startHost } from "../lib/local-host/index.ts";

const APP = path.join(import.meta.dirname, "local-host-app");
const shared = globalThis as unknown as { firstActivityAt: Map<string, number> };

const data = await mkdtemp(path.join(tmpdir(), "bench-local-host-"));
const host = await startHost({ appDirectory: APP, dataDirectory: data });
try {
  await finish(await begin("fanOut", 200));
  const results = {
    sequence: await sequence(500),
    fanOut: [await fanOut(1000), await fanOut(10_000)],
    startToFirstActivityMs: await startLatency(300),
    replay: await replay(),
    machine: `${cpus()[0]?.model ?? "?"}, ${availableParallelism()} cores, Node ${process.version}`,
    commit: execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: APP, encoding: "utf8" }).trim(),
  };
  process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`);
} finally {
  await host.close();
  await rm(data, { recursive: true, force: true });
}

async function begin(name: string, input: unknown, id = ""): Promise<string> {
  const response = await fetch(host.managementUrl(`orchestrators/${name}/${id}`), {
    method: "POST",
    body: JSON.stringify(input),
  });
  if (response.status !== 202) throw new Error(`start answered ${response.status}`);
  return ((await response.json()) as { id: string }).id;
}

async function finish(id: string): Promise<void> {
  for (;;) {
    const response = await fetch(host.managementUrl(`instances/${id}`));
    const { runtimeStatus, output } = (await response.json()) as { runtimeStatus: string; output: unknown };
    if (runtimeStatus === "Completed") return;
    if (runtimeStatus === "Failed") throw new Error(String(output));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function rate(
  name: string,
  activities: number,
): Promise<{ readonly activities: number; readonly perSecond: number }> {
  const startedAt = performance.now();
  await finish(await begin(name, activities));
  return { activities, perSecond: Math.round((activities * 1000) / (performance.now() - startedAt)) };
}

function sequence(activities: number) {
  return rate("sequence", activities);
}

function fanOut(activities: number) {
  return rate("fanOut", activities);
}

async function startLatency(
  starts: number,
): Promise<{ readonly p50: number; readonly p95: number; readonly max: number }> {
  const took: number[] = [];
  for (let index = 0; index < starts; index++) {
    const id = `latency-${index}`;
    const startedAt = performance.now();
    await begin("marking", id, id);
    await finish(id);
    took.push((shared.firstActivityAt.get(id) ?? Number.NaN) - startedAt);
  }
  took.sort((a, b) => a - b);
  const at = (share: number): number =>
    Math.round((took[Math.floor(share * (took.length - 1))] ?? Number.NaN) * 100) / 100;
  return { p50: at(0.5), p95: at(0.95), max: at(1) };
}

/** The history is grown to 1,000 events; then each event from outside makes the code run over all of it once. */
async function replay(): Promise<{ readonly events: number; readonly msPerReplay: number }> {
  const id = await begin("grows", 249, "replayed");
  for (;;) {
    const response = await fetch(host.managementUrl(`instances/${id}`));
    const { customStatus } = (await response.json()) as { customStatus: unknown };
    if (customStatus === "grown") break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const rounds = 20;
  const startedAt = performance.now();
  for (let round = 0; round < rounds; round++) {
    await fetch(host.managementUrl(`instances/${id}/raiseEvent/again`), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: String(round),
    });
    await host.whenIdle();
  }
  return { events: 1000, msPerReplay: Math.round(((performance.now() - startedAt) / rounds) * 100) / 100 };
}
