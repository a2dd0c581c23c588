import { DatabaseSync } from "node:sqlite";
import { BackupError } from "../../errors/index.ts";
import { lockFile } from "./layout.ts";

/**
 * Keeps other processes away from the estate's files. The lock is SQLite's on a file of its own: it ends with the process, however
 * that ends.
 *
 * @throws BackupError SIMULATED_ESTATE_IN_USE
 */
export function lockEstate(folder: string): Disposable {
  const database = new DatabaseSync(lockFile(folder));
  try {
    database.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (cause) {
    database.close();
    throw new BackupError(
      "SIMULATED_ESTATE_IN_USE",
      `another simulated host runs the estate in ${folder}; stop it first`,
      { retry: "after-operator", facts: { folder }, cause },
    );
  }
  return { [Symbol.dispose]: () => database.close() };
}
