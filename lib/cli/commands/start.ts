import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { EXIT, UsageError, type Command } from "../command.ts";
import { startEstate, type Estate } from "../estate/estate.ts";
import { createProgress } from "../progress.ts";

const usage = `usage: npm start -- [--port N]

Starts the demo's estate (Azurite, relay emulator, simulated Hyper-V host, agent, function app) and keeps it running until
Ctrl+C. Prints the lines that start a backup and follow it.

  --port N   port of the function app (default 7071)`;

export default {
  summary: "run the demo's estate until Ctrl+C",
  usage,
  async run(args, io) {
    const { values } = parseArgs({ args: [...args], options: { port: { type: "string", default: "7071" } } });
    const port = Number(values.port);
    if (!Number.isInteger(port) || port < 1 || port > 65_535)
      throw new UsageError(`--port: "${values.port}" is no port`);
    const folder = await mkdtemp(join(tmpdir(), "gcb-start-"));
    const progress = createProgress(io.stderr);
    try {
      await using estate = await startEstate({
        folder,
        members: 3,
        sharedDisk: { kind: "files", megabytes: 256 },
        port,
        onStep: (title) => progress.step(title),
      });
      progress.done();
      io.stdout.write(`${instructions(estate, folder)}\n`);
      await untilAborted(io.signal);
      io.stderr.write("\nStopping.\n");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return EXIT.ok;
  },
} satisfies Command;

function instructions(estate: Estate, folder: string): string {
  const { cluster, controlPlane, functionKey, restoreRoot } = estate;
  const api = `${controlPlane.url}/api`;
  const key = `-H 'x-functions-key: ${functionKey}'`;
  return `
The guest cluster "${cluster.id}" is running. Logs: ${join(folder, "logs")}

Start a backup; the answer names the run and its status URL:
  curl -s -X POST ${key} ${api}/guest-clusters/${cluster.id}/backups

Follow it to its end (RUN is the runId of that answer):
  curl -s ${key} ${api}/runs/RUN

List the restore points, and restore one (POINT is its name):
  curl -s ${key} ${api}/guest-clusters/${cluster.id}/restore-points
  curl -s -X POST ${key} -H 'content-type: application/json' \\
    -d '{"restorePoint":"POINT","targetDirectory":"${join(restoreRoot, "first")}"}' \\
    ${api}/guest-clusters/${cluster.id}/restores

Ctrl+C ends everything and removes its files.`;
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
