import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";

export interface Measured {
  readonly seconds: number;
  readonly peakRssBytes: number;
  readonly stdout: string;
}

const SAMPLE_MS = 25;

/** Runs a command to its end. Peak memory is the kernel's own high-water mark (VmHWM), read while the process lives. */
export async function measure(
  command: string,
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly cwd?: string } = {},
): Promise<Measured> {
  const startedAt = performance.now();
  const child = spawn(command, args, {
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (data: Buffer) => (stdout += data.toString()));
  child.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
  let peakRssBytes = 0;
  const sample = setInterval(() => {
    void highWaterMark(child.pid).then((bytes) => (peakRssBytes = Math.max(peakRssBytes, bytes)));
  }, SAMPLE_MS);
  await once(child, "close");
  clearInterval(sample);
  if (child.exitCode !== 0) throw new Error(`${command} ${args.join(" ")} failed: ${stderr.slice(-2_000)}`);
  return { seconds: (performance.now() - startedAt) / 1000, peakRssBytes, stdout };
}

async function highWaterMark(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, "utf8").catch(() => "");
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}

/** Bytes of all files below a folder. */
export async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  let bytes = 0;
  for (const entry of entries)
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  return bytes;
}
