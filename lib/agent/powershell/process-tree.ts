import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/**
 * Ends a process and everything it started, by id. Children first on POSIX; `taskkill /T` on Windows. Gone already is fine.
 * node-powershell's own `dispose` ends only the shell, which would leave a diskshadow behind that goes on working.
 */
export async function endProcessTree(pid: number): Promise<void> {
  if (process.platform === "win32") {
    const taskkill = join(process.env["SystemRoot"] ?? "C:\\Windows", "System32", "taskkill.exe");
    await run(taskkill, ["/PID", String(pid), "/T", "/F"]).catch(() => undefined);
    return;
  }
  for (const each of [...(await descendantsOf(pid))].reverse()) endOne(each);
  endOne(pid);
}

async function descendantsOf(pid: number): Promise<readonly number[]> {
  const listed = await run("ps", ["-A", "-o", "pid=,ppid="]).catch(() => ({ stdout: "" }));
  const children = new Map<number, number[]>();
  for (const line of listed.stdout.split("\n")) {
    const [child, parent] = line.trim().split(/\s+/).map(Number);
    if (child === undefined || parent === undefined || Number.isNaN(parent)) continue;
    children.set(parent, [...(children.get(parent) ?? []), child]);
  }
  const found: number[] = [];
  for (let queue = [pid]; queue.length > 0;) {
    queue = queue.flatMap((each) => children.get(each) ?? []);
    found.push(...queue);
  }
  return found;
}

function endOne(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}
