import { resolve } from "node:path";
import { parseArgs } from "node:util";
import {
  checkDiskFiles,
  checkEstate,
  createEstate,
  startSimulatedHost,
  type HostLog,
} from "../../simulated-host/index.ts";
import { EXIT, UsageError, type Command, type CommandIo } from "../command.ts";

const usage = [
  "usage: gcb simulated-host create --folder DIR [--image FILE.vhdx] [--megabytes N] [--vms N] [--seed N]",
  "       gcb simulated-host run --folder DIR [--port N]",
  "       gcb simulated-host check --folder DIR | --disks DIR [--application]",
  "",
  "A Hyper-V host without Hyper-V: VMs of one guest cluster on real VHDX files, whose members keep writing.",
  "  create   makes the disks in a new or empty folder",
  "    --image FILE    the shared disk is a copy of this VHDX; else it gets files found on the machine",
  "    --megabytes N   how much of those (default 256)",
  "    --vms N         1 to 64 members (default 3)",
  "    --seed N        the same seed gives the same ids and writers",
  "  run      runs it until Ctrl+C; prints one JSON line {url} when it can be called",
  "    --port N        on 127.0.0.1; default 0: a free one",
  "  check    whether disks are one instant of the writers; prints one JSON line, exit code 1 when they are not",
  "    --folder DIR    an estate that nobody runs",
  "    --disks DIR     disk files, restored ones for example",
  "    --application   a transaction that is only partly there breaks the rules, too",
].join("\n");

async function run(args: readonly string[], io: CommandIo): Promise<number> {
  const [verb, ...rest] = args;
  const verbs = { create, run: serve, check };
  const act = Object.entries(verbs).find(([name]) => name === verb)?.[1];
  if (act === undefined) {
    throw new UsageError(`"simulated-host ${verb ?? ""}" is not known; use create, run or check`);
  }
  return act(rest, io);
}

async function create(args: readonly string[], io: CommandIo): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      folder: { type: "string" },
      image: { type: "string" },
      megabytes: { type: "string", default: "256" },
      vms: { type: "string", default: "3" },
      seed: { type: "string" },
    },
  });
  const made = await createEstate({
    folder: folderOf(values.folder),
    sharedDisk:
      values.image === undefined
        ? { kind: "files", megabytes: wholeNumber("--megabytes", values.megabytes, 1, 1_048_576) }
        : { kind: "image", path: resolve(values.image) },
    vms: wholeNumber("--vms", values.vms, 1, 64),
    ...(values.seed === undefined ? {} : { seed: wholeNumber("--seed", values.seed, 0, 2 ** 32 - 1) }),
  });
  io.stdout.write(`${JSON.stringify(made)}\n`);
  return EXIT.ok;
}

async function serve(args: readonly string[], io: CommandIo): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { folder: { type: "string" }, port: { type: "string", default: "0" } },
  });
  const log: HostLog = (level, message, facts) => {
    io.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), level, message, ...facts })}\n`);
  };
  const host = await startSimulatedHost({
    folder: folderOf(values.folder),
    port: wholeNumber("--port", values.port, 0, 65_535),
    log,
  });
  io.stdout.write(`${JSON.stringify({ url: host.url })}\n`);
  if (!io.signal.aborted) {
    await new Promise((done) => {
      io.signal.addEventListener("abort", done, { once: true });
    });
  }
  await host.close();
  return EXIT.ok;
}

async function check(args: readonly string[], io: CommandIo): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      folder: { type: "string" },
      disks: { type: "string" },
      application: { type: "boolean", default: false },
    },
  });
  if ((values.folder === undefined) === (values.disks === undefined)) {
    throw new UsageError("check takes either --folder or --disks");
  }
  const options = { consistency: values.application ? "application" : "crash" } as const;
  const result =
    values.disks === undefined
      ? await checkEstate(folderOf(values.folder), options)
      : await checkDiskFiles(resolve(values.disks), options);
  io.stdout.write(`${JSON.stringify(result)}\n`);
  return result.consistent ? EXIT.ok : EXIT.failed;
}

function folderOf(folder: string | undefined): string {
  if (folder === undefined) throw new UsageError("--folder is missing");
  return resolve(folder);
}

function wholeNumber(option: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new UsageError(`${option} takes a whole number from ${min} to ${max}, not "${text}"`);
}

export default {
  summary: "a Hyper-V host for trials and tests, without Hyper-V",
  usage,
  run,
} satisfies Command;
