/**
 * restic, borg and this project on the same disk image in one run, encryption on everywhere:
 * `npm run bench:peers -- [--size-gib N] [--json]`. Needs Debian's restic and borgbackup.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as z from "zod";
import { changeImage, makeImage, type Image } from "./peers/image.ts";
import { measure, sizeOf } from "./peers/measure.ts";

interface Row {
  readonly tool: "restic" | "borg" | "gcb";
  readonly full: { readonly seconds: number; readonly storedBytes: number };
  readonly incremental: {
    readonly seconds: number;
    readonly addedBytes: number;
    readonly changedBytes: number;
  };
  readonly restore: { readonly seconds: number; readonly identical: boolean };
  readonly verify: { readonly seconds: number };
  readonly peakRssBytes: number;
}

/** One tool's steps, timed one by one. */
interface Peer {
  readonly tool: Row["tool"];
  full(): Promise<Step>;
  incremental(changesFile: string): Promise<Step>;
  /** @returns also the restored raw file */
  restore(): Promise<Step & { readonly file: string }>;
  verify(): Promise<Step>;
  readonly repository: string;
}
interface Step {
  readonly seconds: number;
  readonly peakRssBytes: number;
}

const { values } = parseArgs({
  options: { "size-gib": { type: "string", default: "4" }, json: { type: "boolean", default: false } },
});
const sizeBytes = Number(values["size-gib"]) * 2 ** 30;
if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0)
  throw new RangeError("--size-gib takes a positive number");
for (const program of ["restic", "borg"]) {
  if (!existsSync(`/usr/bin/${program}`)) {
    process.stderr.write(`bench:peers needs ${program}: apt-get install restic borgbackup\n`);
    process.exit(2);
  }
}

function restic(folder: string, image: Image): Peer & { init(): Promise<Step> } {
  const repository = join(folder, "restic");
  const target = join(folder, "restic-restored");
  const env = {
    RESTIC_REPOSITORY: repository,
    RESTIC_PASSWORD: "bench",
    RESTIC_CACHE_DIR: join(folder, "restic-cache"),
  };
  const run = (...args: string[]) => measure("restic", ["--quiet", ...args], { env });
  return {
    tool: "restic",
    repository,
    init: () => run("init"),
    full: () => run("backup", image.raw),
    incremental: () => run("backup", image.raw),
    restore: async () => ({
      ...(await run("restore", "latest", "--target", target)),
      file: join(target, image.raw),
    }),
    verify: () => run("check", "--read-data"),
  };
}

function borg(folder: string, image: Image): Peer & { init(): Promise<Step> } {
  const repository = join(folder, "borg");
  const target = join(folder, "borg-restored");
  const env = { BORG_REPO: repository, BORG_PASSPHRASE: "bench", BORG_BASE_DIR: join(folder, "borg-base") };
  const run = (args: string[], cwd?: string) =>
    measure("borg", args, { env, ...(cwd === undefined ? {} : { cwd }) });
  return {
    tool: "borg",
    repository,
    init: () => run(["init", "--encryption", "repokey-blake2"]),
    full: () => run(["create", "--compression", "zstd,3", "::full", image.raw]),
    incremental: () => run(["create", "--compression", "zstd,3", "::incremental", image.raw]),
    async restore() {
      await mkdir(target);
      return { ...(await run(["extract", "::incremental"], target)), file: join(target, image.raw) };
    },
    verify: () => run(["check", "--verify-data"]),
  };
}

function gcb(folder: string, image: Image): Peer & { init(): Promise<Step> } {
  const repository = join(folder, "gcb");
  const script = join(import.meta.dirname, "peers/gcb-run.ts");
  let where = "";
  const run = (...args: string[]) =>
    measure(process.execPath, [script, args[0] ?? "", repository, ...args.slice(1)]);
  const Where = z.object({ mapRoot: z.string(), sizeBytes: z.number() });
  const remember = <T extends { readonly stdout: string }>(measured: T): T => {
    where = JSON.stringify(Where.parse(JSON.parse(measured.stdout)));
    return measured;
  };
  return {
    tool: "gcb",
    repository,
    init: () => run("init"),
    full: async () => remember(await run("full", image.vhdx)),
    incremental: async (changesFile) => remember(await run("incremental", image.vhdx, changesFile, where)),
    async restore() {
      const file = join(folder, "gcb-restored.raw");
      return { ...(await run("restore", where, file)), file };
    },
    verify: () => run("verify", where),
  };
}

async function digest(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of createReadStream(file)) hash.update(part as Buffer);
  return hash.digest("hex");
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "gcb-peers-"));
  const say = (text: string) => process.stderr.write(`${text}\n`);
  try {
    say(`building an image of ${values["size-gib"]} GiB`);
    const image = await makeImage(folder, sizeBytes);
    const peers = [restic(folder, image), borg(folder, image), gcb(folder, image)];
    const full = new Map<Peer, { step: Step; stored: number }>();
    for (const peer of peers) {
      await mkdir(peer.repository);
      await peer.init();
      say(`${peer.tool}: full`);
      full.set(peer, { step: await peer.full(), stored: await sizeOf(peer.repository) });
    }
    const changes = await changeImage(image);
    const changedBytes = changes.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    const changesFile = join(folder, "changes.json");
    await writeFile(changesFile, JSON.stringify(changes));
    const expected = await digest(image.raw);
    const rows: Row[] = [];
    for (const peer of peers) {
      say(`${peer.tool}: incremental, restore, verify`);
      const { step: first, stored } = full.get(peer) ?? { step: { seconds: 0, peakRssBytes: 0 }, stored: 0 };
      const incremental = await peer.incremental(changesFile);
      const addedBytes = (await sizeOf(peer.repository)) - stored;
      const restored = await peer.restore();
      const identical = (await digest(restored.file)) === expected;
      await rm(restored.file);
      const verified = await peer.verify();
      rows.push({
        tool: peer.tool,
        full: { seconds: first.seconds, storedBytes: stored },
        incremental: { seconds: incremental.seconds, addedBytes, changedBytes },
        restore: { seconds: restored.seconds, identical },
        verify: { seconds: verified.seconds },
        peakRssBytes: Math.max(
          ...[first, incremental, restored, verified].map(({ peakRssBytes }) => peakRssBytes),
        ),
      });
    }
    process.stdout.write(values.json ? `${JSON.stringify({ rows })}\n` : `${table(rows)}\n`);
    if (!rows.every(({ restore }) => restore.identical)) process.exitCode = 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Columns are tools; this project's figures come with their ratio to restic's. */
function table(rows: readonly Row[]): string {
  const reference = rows.find(({ tool }) => tool === "restic");
  const lines: [string, (row: Row) => number, string][] = [
    ["full backup", ({ full }) => full.seconds, "s"],
    ["stored", ({ full }) => full.storedBytes / 1e6, "MB"],
    ["incremental", ({ incremental }) => incremental.seconds, "s"],
    ["added", ({ incremental }) => incremental.addedBytes / 1e6, "MB"],
    ["restore", ({ restore }) => restore.seconds, "s"],
    ["verify", ({ verify }) => verify.seconds, "s"],
    ["peak memory", ({ peakRssBytes }) => peakRssBytes / 1e6, "MB"],
  ];
  const cell = (row: Row, of: (row: Row) => number, unit: string) => {
    const ratio =
      reference === undefined || row.tool !== "gcb" ? "" : ` (${(of(row) / of(reference)).toFixed(2)} ×)`;
    return `${of(row).toFixed(1)} ${unit}${ratio}`.padStart(20);
  };
  return [
    `${"".padEnd(14)}${rows.map(({ tool }) => tool.padStart(20)).join("")}`,
    ...lines.map(
      ([name, of, unit]) => `${name.padEnd(14)}${rows.map((row) => cell(row, of, unit)).join("")}`,
    ),
  ].join("\n");
}

await main();
