/** One step of this project in a process of its own, for bench/peers.ts: STEP REPOSITORY ARGUMENTS…, JSON on stdout. */
import { open, readFile } from "node:fs/promises";
import * as z from "zod";
import { ByteRange } from "../../lib/contracts/index.ts";
import {
  BackupSession,
  createRepository,
  digestDisk,
  directoryStore,
  openRepository,
  readDisk,
  type DiskChanges,
} from "../../lib/repository/index.ts";
import { byteFileOf, openVhdx } from "../../lib/vhdx/index.ts";

const { signal } = new AbortController();
const PASSPHRASE = "bench";
const [step = "", folder = "", ...rest] = process.argv.slice(2);
const store = directoryStore(folder);

const Where = z.object({ mapRoot: z.string(), sizeBytes: z.number() });

async function backUp(vhdx: string, changes: DiskChanges): Promise<unknown> {
  const repository = await openRepository(store, { kind: "passphrase", passphrase: PASSPHRASE });
  await using handle = await open(vhdx, "r");
  const disk = await openVhdx(await byteFileOf(handle));
  const session = await BackupSession.open(repository);
  const { mapRoot, sizes } = await session.backUp({ disk, changes, signal });
  await session.finish();
  return { mapRoot, sizeBytes: disk.sizeBytes, sizes };
}

async function restore(where: z.infer<typeof Where>, target: string): Promise<unknown> {
  const repository = await openRepository(store, { kind: "passphrase", passphrase: PASSPHRASE });
  await using handle = await open(target, "w");
  await handle.truncate(where.sizeBytes);
  for await (const { offsetBytes, data } of readDisk(repository, where, signal)) {
    await handle.write(data, 0, data.length, offsetBytes);
  }
  await handle.sync();
  return {};
}

/** Reads every chunk that the restore point needs, authenticated, and recomputes the digest of the disk. */
async function verify(where: z.infer<typeof Where>): Promise<unknown> {
  const repository = await openRepository(store, { kind: "passphrase", passphrase: PASSPHRASE });
  const root = await digestDisk(repository, where.sizeBytes, readDisk(repository, where, signal));
  if (root !== where.mapRoot) throw new Error("the digest differs");
  return {};
}

async function run(): Promise<unknown> {
  const [first = "", second = "", third = ""] = rest;
  switch (step) {
    case "init":
      await createRepository(store, { passphrase: PASSPHRASE });
      return {};
    case "full":
      return backUp(first, { kind: "full" });
    case "incremental": {
      const ranges = z.array(ByteRange).parse(JSON.parse(await readFile(second, "utf8")));
      return backUp(first, { kind: "ranges", ranges, base: Where.parse(JSON.parse(third)) });
    }
    case "restore":
      return restore(Where.parse(JSON.parse(first)), second);
    case "verify":
      return verify(Where.parse(JSON.parse(first)));
    default:
      throw new Error(`unknown step ${step}`);
  }
}

process.stdout.write(`${JSON.stringify(await run())}\n`);
