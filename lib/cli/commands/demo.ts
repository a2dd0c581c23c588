import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { EXIT, UsageError, type Command } from "../command.ts";
import { CORRUPTIBLE, type CorruptibleKind } from "../demo/corrupt.ts";
import { renderReport } from "../demo/report.ts";
import { runDemo } from "../demo/run-demo.ts";
import { startEstate } from "../estate/estate.ts";
import { createProgress } from "../progress.ts";

const usage = `usage: npm run demo -- [--image FILE.vhdx] [--megabytes N] [--members N] [--keep DIR] [--corrupt KIND] [--json]

Backs up a simulated guest cluster under load, twice, restores it and proves the result. Only Hyper-V is simulated: the disks
are real VHDX files, storage is Azurite, the agent is reached through the relay protocol, the function app is the real one.

  --image FILE    the shared disk is this VHDX instead of files found on the machine
  --megabytes N   how much data the shared disk gets otherwise (default 256)
  --members N     VMs of the guest cluster (default 3)
  --keep DIR      work in this new folder and keep it, with all logs
  --corrupt KIND  flip one stored bit before the restore (${CORRUPTIBLE.join(", ")}): the demo must then fail
  --json          one JSON object at the end`;

export default {
  summary: "back up, restore and prove a simulated guest cluster",
  usage,
  async run(args, io) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        image: { type: "string" },
        megabytes: { type: "string", default: "256" },
        members: { type: "string", default: "3" },
        keep: { type: "string" },
        corrupt: { type: "string" },
        json: { type: "boolean", default: false },
      },
    });
    const corrupt = parseCorrupt(values.corrupt);
    const megabytes = wholeNumber("--megabytes", values.megabytes, 8, 65_536);
    const members = wholeNumber("--members", values.members, 2, 16);
    const folder =
      values.keep === undefined ? await mkdtemp(join(tmpdir(), "gcb-demo-")) : resolve(values.keep);
    const progress = createProgress(io.stderr);
    try {
      await using estate = await startEstate({
        folder,
        members,
        sharedDisk:
          values.image === undefined
            ? { kind: "files", megabytes }
            : { kind: "image", path: resolve(values.image) },
        onStep: (title) => progress.step(title),
      });
      const options = { signal: io.signal, ...(corrupt === undefined ? {} : { corrupt }) };
      const report = await runDemo(estate, options, progress);
      progress.done();
      io.stdout.write(values.json ? `${JSON.stringify(report)}\n` : `\n${renderReport(report)}\n`);
      return report.ok ? EXIT.ok : EXIT.failed;
    } finally {
      if (values.keep === undefined) await rm(folder, { recursive: true, force: true });
    }
  },
} satisfies Command;

function parseCorrupt(text: string | undefined): CorruptibleKind | undefined {
  if (text === undefined) return undefined;
  const kind = CORRUPTIBLE.find((each) => each === text);
  if (kind === undefined)
    throw new UsageError(`--corrupt takes one of ${CORRUPTIBLE.join(", ")}, not "${text}"`);
  return kind;
}

function wholeNumber(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(
    `${option} takes a whole number from ${String(least)} to ${String(most)}, not "${text}"`,
  );
}
