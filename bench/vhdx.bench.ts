/**
 * How fast are VHDX files read and planned? `node bench/vhdx.bench.ts [--size GIB]`
 *
 * 1. All guest content of one file into a raw image: `gcb image convert` beside `qemu-img convert -O raw`, both as
 *    processes of their own, in turns, on the same disk; best of the rounds each. Ratio > 1: this project is faster.
 *    Runs what `npm run build` made when it is there, as it is shipped, else the sources.
 * 2. A disk of 64 TiB: time and memory from open to the last allocated range, in a fresh process. Three files: sparse
 *    in blocks of 32 MiB, empty in blocks of 1 MiB (a BAT of 513 MiB), and the same made by qemu-img (every entry ZERO).
 */
import { execFileSync, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { byteFileOf, createVhdx, createVhdxStream, openVhdx, openVhdxForWrite } from "../lib/vhdx/index.ts";

const MIB = 1_048_576;
const TIB = 2 ** 40;
const ROUNDS = 7;

const { values } = parseArgs({
  options: { size: { type: "string", default: "3" }, plan: { type: "string" } },
});
if (values.plan === undefined) await main(Number(values.size));
else await plan(values.plan);

/** In a process of its own, so that memory is that of planning alone. */
async function plan(path: string): Promise<void> {
  const idleBytes = process.memoryUsage().rss;
  const start = performance.now();
  const handle = await open(path);
  const image = await openVhdx(await byteFileOf(handle));
  let ranges = 0;
  for await (const _ of image.allocatedRanges()) ranges++;
  const planMs = Math.round(performance.now() - start);
  await handle.close();
  const peakBytes = process.resourceUsage().maxRSS * 1_024;
  const megabytes = (bytes: number): number => Math.round(bytes / 1e6);
  process.stdout.write(
    JSON.stringify({
      ranges,
      planMs,
      processMb: megabytes(peakBytes),
      addedMb: megabytes(peakBytes - idleBytes),
    }),
  );
}

async function main(gibibytes: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "bench-vhdx-"));
  try {
    const results = {
      read: await compareReading(folder, gibibytes),
      plan64TiB: await planLargeDisks(folder),
      machine: `${cpus()[0]?.model ?? "?"}, ${availableParallelism()} cores, Node ${process.version}`,
      peer: execFileSync("qemu-img", ["--version"], { encoding: "utf8" }).split("\n")[0],
      commit: execFileSync("git", ["rev-parse", "--short", "HEAD"], {
        cwd: import.meta.dirname,
        encoding: "utf8",
      }).trim(),
    };
    process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A disk of which two thirds hold random bytes, in runs with gaps between. */
async function compareReading(folder: string, gibibytes: number) {
  const source = join(folder, "source.vhdx");
  const handle = await open(source, "w+");
  const stream = await createVhdxStream(await byteFileOf(handle), {
    sizeBytes: gibibytes * 1_024 * MIB,
    blockBytes: 2 * MIB,
  });
  const data = new Uint8Array(8 * MIB);
  let bytes = 0;
  for (let at = 0; at + data.length <= gibibytes * 1_024 * MIB; at += data.length) {
    if ((at / data.length) % 3 === 2) continue;
    await stream.write(at, randomFillSync(data));
    bytes += data.length;
  }
  await stream.finish();
  await handle.close();

  const best = { gcb: Number.POSITIVE_INFINITY, qemu: Number.POSITIVE_INFINITY };
  const built = resolve(import.meta.dirname, "../dist/lib/cli/main.js");
  const gcb = existsSync(built) ? built : resolve(import.meta.dirname, "../lib/cli/main.ts");
  for (let round = 0; round <= ROUNDS; round++) {
    // The first round only fills the page cache.
    const gcbMs = await timed(join(folder, "gcb.raw"), (to) => [
      process.execPath,
      gcb,
      "image",
      "convert",
      source,
      to,
    ]);
    const qemuMs = await timed(join(folder, "qemu.raw"), (to) => [
      "qemu-img",
      "convert",
      "-f",
      "vhdx",
      "-O",
      "raw",
      source,
      to,
    ]);
    if (round === 0) continue;
    best.gcb = Math.min(best.gcb, gcbMs);
    best.qemu = Math.min(best.qemu, qemuMs);
  }
  return {
    program: basename(gcb),
    contentMb: Math.round(bytes / 1e6),
    gcbMs: Math.round(best.gcb),
    qemuImgMs: Math.round(best.qemu),
    gcbMbPerSecond: Math.round(bytes / 1e3 / best.gcb),
    ratio: Number((best.qemu / best.gcb).toFixed(2)),
  };
}

async function timed(target: string, commandFor: (target: string) => readonly string[]): Promise<number> {
  const [command = "", ...args] = commandFor(target);
  const start = performance.now();
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  const elapsedMs = performance.now() - start;
  if (status !== 0) throw new Error(`${command} failed: ${stderr}`);
  await rm(target);
  return elapsedMs;
}

async function planLargeDisks(folder: string) {
  const sparse = join(folder, "sparse.vhdx");
  await withFile(sparse, async (file) => {
    await createVhdx(file, { kind: "dynamic", sizeBytes: 64 * TIB, blockBytes: 32 * MIB });
    const disk = await openVhdxForWrite(file);
    for (let index = 0; index < 1_000; index++) {
      await disk.write(index * 64 * 1_024 * MIB, new Uint8Array(4_096).fill(1));
    }
    await disk.close();
  });
  const empty = join(folder, "empty.vhdx");
  await withFile(empty, (file) =>
    createVhdx(file, { kind: "dynamic", sizeBytes: 64 * TIB, blockBytes: MIB }),
  );
  const fromQemu = join(folder, "qemu.vhdx");
  execFileSync("qemu-img", ["create", "-f", "vhdx", "-o", "block_size=1M", fromQemu, "64T"]);
  return { sparse32MiB: planned(sparse), empty1MiB: planned(empty), qemu1MiB: planned(fromQemu) };
}

async function withFile(path: string, work: (file: Awaited<ReturnType<typeof byteFileOf>>) => Promise<void>) {
  const handle = await open(path, "w+");
  await work(await byteFileOf(handle));
  await handle.close();
}

/** The second of two runs: the first brings the file into the page cache. */
function planned(path: string): unknown {
  const run = (): string =>
    execFileSync(process.execPath, [import.meta.filename, "--plan", path], { encoding: "utf8" });
  run();
  return JSON.parse(run());
}
