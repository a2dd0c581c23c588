import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { holdDataDirectory } from "../../lib/agent/data-directory.ts";
import { Journal } from "../../lib/agent/journal/journal.ts";
import { CLUSTER, newRunId, temporaryFolder } from "./bench.ts";

const MODULE = new URL("../../lib/agent/data-directory.ts", import.meta.url).href;
const HOLD = `
  const { holdDataDirectory } = await import(${JSON.stringify(MODULE)});
  globalThis.held = await holdDataDirectory(process.argv[1]);
  console.log("held");
  setInterval(() => undefined, 1000);
`;

test("the lock ends with its process, however that ends", async () => {
  await using folder = await temporaryFolder();
  const holder = spawn(process.execPath, ["--input-type=module", "-e", HOLD, folder.path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  const refused: unknown = await holdDataDirectory(folder.path).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "AGENT_DATA_IN_USE" });
  expect(String(refused)).toContain(String(holder.pid));
  holder.kill("SIGKILL");
  await once(holder, "exit");
  using held = await holdDataDirectory(folder.path);
  expect(held.path).toBe(folder.path);
});

test("a data directory that is a file is refused", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "file");
  await writeFile(file, "");
  await expect(holdDataDirectory(file)).rejects.toMatchObject({ code: "AGENT_DATA_INVALID" });
});

test("a journal of a newer version, or a file that is none, is refused and stays as it is", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "journal.sqlite");
  Journal.open(file)[Symbol.dispose]();
  {
    const db = new DatabaseSync(file);
    db.exec("UPDATE meta SET value = '99' WHERE key = 'format'");
    db.close();
  }
  const invalid = expect.objectContaining({ code: "AGENT_DATA_INVALID" }) as Error;
  expect(() => Journal.open(file)).toThrow(invalid);
  await writeFile(join(folder.path, "text"), "this is no database, it is far too long to be an empty one");
  expect(() => Journal.open(join(folder.path, "text"))).toThrow(invalid);
});

test("runs that ended long ago are forgotten with all they noted; open ones never are", async () => {
  await using folder = await temporaryFolder();
  let now = Date.parse("2026-01-01T00:00:00Z");
  using journal = Journal.open(join(folder.path, "journal.sqlite"), () => new Date(now));
  const [ended, open] = [newRunId(), newRunId()];
  for (const runId of [ended, open]) {
    journal.ensureRun(runId, CLUSTER);
    journal.noteFact(runId, "a", "", 1);
    journal.beginOperation({
      id: `${runId}.ship`,
      run_id: runId,
      cluster_id: CLUSTER,
      kind: "ship",
      input: "{}",
    });
  }
  journal.endRun(ended);
  now += 1000;
  journal.forgetRunsEndedBefore(new Date(now));
  expect(journal.run(ended)).toBeUndefined();
  expect(journal.fact(ended, "a", "")).toBeUndefined();
  expect(journal.operation(`${ended}.ship`)).toBeUndefined();
  expect(journal.fact(open, "a", "")).toBe(1);
});
