import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { BackupError } from "../../errors/index.ts";
import { FORMAT_VERSION, SCHEMA } from "./schema.ts";

export type Row = Record<string, unknown>;

/**
 * The host's SQLite file, owned by one process at a time.
 *
 * Ownership is a lock that the operating system holds for this process on a second file (`host.lock`, an exclusive SQLite
 * transaction), so it ends with the process however it dies, and other programs may still read the database.
 * Every commit is on the disk when it returns (WAL, synchronous=FULL).
 */
export class Database implements Disposable {
  readonly #db: DatabaseSync;
  readonly #lock: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #inTransaction = false;

  private constructor(db: DatabaseSync, lock: DatabaseSync) {
    this.#db = db;
    this.#lock = lock;
  }

  /**
   * @throws BackupError HOST_DATA_IN_USE when another host owns the folder
   * @throws BackupError HOST_DATA_INVALID when the database is of a newer format or no database
   */
  static async open(directory: string): Promise<Database> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const lock = await takeLock(directory);
    try {
      const db = openDatabase(path.join(directory, "host.sqlite"));
      return new Database(db, lock);
    } catch (error) {
      lock.close();
      throw error;
    }
  }

  all<T extends Row = Row>(sql: string, ...values: SQLInputValue[]): T[] {
    return this.#prepare(sql).all(...values) as T[];
  }

  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- as above
  get<T extends Row = Row>(sql: string, ...values: SQLInputValue[]): T | undefined {
    return this.#prepare(sql).get(...values) as T | undefined;
  }

  /** @returns how many rows changed */
  run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#prepare(sql).run(...values).changes);
  }

  /** Runs `work` in one transaction; a transaction inside another is part of it. */
  transaction<T>(work: () => T): T {
    if (this.#inTransaction) return work();
    this.#db.exec("BEGIN IMMEDIATE");
    this.#inTransaction = true;
    try {
      const result = work();
      this.#db.exec("COMMIT");
      return result;
    } catch (error) {
      this.#db.exec("ROLLBACK");
      throw error;
    } finally {
      this.#inTransaction = false;
    }
  }

  [Symbol.dispose](): void {
    this.#statements.clear();
    this.#db.close();
    this.#lock.close();
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

function openDatabase(file: string): DatabaseSync {
  const db = new DatabaseSync(file);
  try {
    db.exec(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=5000;",
    );
    db.exec(SCHEMA);
    db.prepare("INSERT OR IGNORE INTO meta (key, value) VALUES ('format', ?)").run(String(FORMAT_VERSION));
    const found = db.prepare("SELECT value FROM meta WHERE key = 'format'").get() as { value: string };
    if (Number(found.value) > FORMAT_VERSION) {
      throw new BackupError(
        "HOST_DATA_INVALID",
        `${file} was written by a newer program (format ${found.value}, this program knows ${FORMAT_VERSION}); use that program.`,
        { retry: "after-operator" },
      );
    }
    return db;
  } catch (error) {
    db.close();
    if (error instanceof BackupError) throw error;
    throw new BackupError(
      "HOST_DATA_INVALID",
      `${file} can't be opened as the host's database: ${String(error)}. Restore it or give an empty data folder.`,
      {
        cause: error,
        retry: "after-operator",
      },
    );
  }
}

async function takeLock(directory: string): Promise<DatabaseSync> {
  const ownerFile = path.join(directory, "host.owner.json");
  const lock = new DatabaseSync(path.join(directory, "host.lock"));
  try {
    lock.exec("PRAGMA busy_timeout=0; BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    const owner = await readFile(ownerFile, "utf8").catch(() => "an unknown process");
    throw new BackupError(
      "HOST_DATA_IN_USE",
      `The data folder ${directory} is in use by another host (${owner.trim()}); stop that one, or give another folder.`,
      { retry: "after-operator", cause: error },
    );
  }
  await writeFile(ownerFile, `${JSON.stringify({ pid: process.pid, since: new Date().toISOString() })}\n`);
  return lock;
}
