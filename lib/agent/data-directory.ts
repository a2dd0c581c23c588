import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { BackupError } from "../errors/index.ts";

/** The agent's folder, held by one process. */
export interface DataDirectory extends Disposable {
  readonly path: string;
}

/**
 * Takes the data directory for this process. The lock is one of the operating system (an exclusive SQLite transaction on
 * `agent.lock`), so it ends with the process however that dies, and never outlives it.
 *
 * @throws BackupError AGENT_DATA_IN_USE when another agent holds it, AGENT_DATA_INVALID when it cannot be used
 */
export async function holdDataDirectory(path: string): Promise<DataDirectory> {
  let lock: DatabaseSync;
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    lock = new DatabaseSync(join(path, "agent.lock"));
  } catch (cause) {
    throw new BackupError(
      "AGENT_DATA_INVALID",
      `the data directory ${path} cannot be used: ${String(cause)}; check its rights and the disk`,
      { retry: "after-operator", facts: { path }, cause },
    );
  }
  const ownerFile = join(path, "agent.owner.json");
  try {
    lock.exec("PRAGMA busy_timeout=0; BEGIN EXCLUSIVE");
  } catch (cause) {
    lock.close();
    const owner = await readFile(ownerFile, "utf8").catch(() => "an unknown process");
    throw new BackupError(
      "AGENT_DATA_IN_USE",
      `the data directory ${path} is in use by another agent (${owner.trim()}); stop that one, or give another directory`,
      { retry: "after-operator", facts: { path }, cause },
    );
  }
  await writeFile(ownerFile, `${JSON.stringify({ pid: process.pid, since: new Date().toISOString() })}\n`);
  return {
    path,
    [Symbol.dispose]: () => {
      lock.close();
    },
  };
}
