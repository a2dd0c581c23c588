import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import * as z from "zod";
import {
  GuestClusterId,
  OperationKind,
  OperationProgress,
  RunId,
  ErrorDocumentSchema,
} from "../../contracts/index.ts";
import { BackupError, type ErrorDocument } from "../../errors/index.ts";

const FORMAT_VERSION = 1;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, cluster_id TEXT NOT NULL,
    started_at TEXT NOT NULL, last_call_at TEXT NOT NULL, ended_at TEXT
  ) STRICT;
  CREATE TABLE IF NOT EXISTS operations (
    id TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE, cluster_id TEXT NOT NULL,
    kind TEXT NOT NULL, input TEXT NOT NULL, state TEXT NOT NULL, progress TEXT,
    result TEXT, error TEXT, started_at TEXT NOT NULL, ended_at TEXT
  ) STRICT;
  CREATE TABLE IF NOT EXISTS facts (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE, name TEXT NOT NULL, key TEXT NOT NULL,
    value TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (run_id, name, key)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS commands (jti TEXT PRIMARY KEY, forget_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS operations_by_run ON operations (run_id);
  CREATE INDEX IF NOT EXISTS commands_by_time ON commands (forget_at);
`;

/** A JSON document in a column. */
function column<T extends z.ZodType>(schema: T) {
  return z
    .string()
    .transform((text): unknown => JSON.parse(text))
    .pipe(schema);
}

const OperationRow = z.object({
  id: z.string(),
  run_id: RunId,
  cluster_id: GuestClusterId,
  kind: OperationKind,
  /** Canonical JSON, without secrets. */
  input: z.string(),
  state: z.enum(["running", "succeeded", "failed"]),
  progress: column(OperationProgress).nullable(),
  result: column(z.unknown()).nullable(),
  error: column(ErrorDocumentSchema).nullable(),
  started_at: z.string(),
  ended_at: z.string().nullable(),
});
export type OperationRow = z.infer<typeof OperationRow>;

const RunRow = z.object({
  run_id: RunId,
  cluster_id: GuestClusterId,
  started_at: z.string(),
  last_call_at: z.string(),
  ended_at: z.string().nullable(),
});
export type RunRow = z.infer<typeof RunRow>;

/**
 * What the agent must still know after a crash: operations, and per run the facts about what may exist on the host. Every write
 * is on the disk when it returns (WAL, synchronous=FULL). Secrets never get here.
 */
export class Journal implements Disposable {
  readonly #db: DatabaseSync;
  readonly #clock: () => Date;

  private constructor(db: DatabaseSync, clock: () => Date) {
    this.#db = db;
    this.#clock = clock;
  }

  /** @throws BackupError AGENT_DATA_INVALID when the file is no journal, or one of a newer version */
  static open(file: string, clock: () => Date = () => new Date()): Journal {
    try {
      const db = new DatabaseSync(file);
      db.exec(
        "PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON",
      );
      db.exec(SCHEMA);
      db.prepare("INSERT OR IGNORE INTO meta (key, value) VALUES ('format', ?)").run(String(FORMAT_VERSION));
      const format = z
        .object({ value: z.coerce.number() })
        .parse(db.prepare("SELECT value FROM meta WHERE key = 'format'").get()).value;
      if (format > FORMAT_VERSION)
        throw new RangeError(`it has format ${format}, this version knows ${FORMAT_VERSION}`);
      return new Journal(db, clock);
    } catch (cause) {
      throw new BackupError(
        "AGENT_DATA_INVALID",
        `the journal ${file} cannot be opened: ${String(cause)}; use the version that wrote it, or give an empty data directory`,
        { retry: "after-operator", facts: { file }, cause },
      );
    }
  }

  // runs

  run(runId: RunId): RunRow | undefined {
    return this.#one(RunRow, "SELECT * FROM runs WHERE run_id = ?", runId);
  }

  openRuns(): RunRow[] {
    return this.#all(RunRow, "SELECT * FROM runs WHERE ended_at IS NULL ORDER BY run_id");
  }

  /** Creates the run, or finds it. */
  ensureRun(runId: RunId, clusterId: GuestClusterId): void {
    const now = this.#now();
    this.#run("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, NULL)", runId, clusterId, now, now);
  }

  noteCall(runId: RunId): void {
    this.#run("UPDATE runs SET last_call_at = ? WHERE run_id = ?", this.#now(), runId);
  }

  endRun(runId: RunId): void {
    this.#run("UPDATE runs SET ended_at = ? WHERE run_id = ? AND ended_at IS NULL", this.#now(), runId);
  }

  /** Forgets runs that ended before the instant, with their operations and facts. */
  forgetRunsEndedBefore(instant: Date): void {
    this.#run("DELETE FROM runs WHERE ended_at < ?", instant.toISOString());
  }

  // operations

  operation(id: string): OperationRow | undefined {
    return this.#one(OperationRow, "SELECT * FROM operations WHERE id = ?", id);
  }

  runningOperations(): OperationRow[] {
    return this.#all(
      OperationRow,
      "SELECT * FROM operations WHERE state = 'running' ORDER BY started_at, id",
    );
  }

  /** Begins the operation; one that ended before begins anew. */
  beginOperation(operation: Pick<OperationRow, "id" | "run_id" | "cluster_id" | "kind" | "input">): void {
    const { id, run_id, cluster_id, kind, input } = operation;
    this.#run(
      "INSERT OR REPLACE INTO operations (id, run_id, cluster_id, kind, input, state, started_at) VALUES (?, ?, ?, ?, ?, 'running', ?)",
      ...[id, run_id, cluster_id, kind, input, this.#now()],
    );
  }

  noteProgress(id: string, progress: OperationProgress): void {
    this.#run(
      "UPDATE operations SET progress = ? WHERE id = ? AND state = 'running'",
      JSON.stringify(progress),
      id,
    );
  }

  succeed(id: string, result: unknown): void {
    this.#run(
      "UPDATE operations SET state = 'succeeded', result = ?, ended_at = ? WHERE id = ? AND state = 'running'",
      ...[JSON.stringify(result), this.#now(), id],
    );
  }

  fail(id: string, error: ErrorDocument): void {
    this.#run(
      "UPDATE operations SET state = 'failed', error = ?, ended_at = ? WHERE id = ? AND state = 'running'",
      ...[JSON.stringify(error), this.#now(), id],
    );
  }

  // facts

  fact(runId: RunId, name: string, key: string): unknown {
    const row = this.#db
      .prepare("SELECT value FROM facts WHERE run_id = ? AND name = ? AND key = ?")
      .get(runId, name, key);
    return row === undefined ? undefined : z.object({ value: column(z.unknown()) }).parse(row).value;
  }

  noteFact(runId: RunId, name: string, key: string, value: unknown): void {
    this.#run(
      "INSERT OR REPLACE INTO facts (run_id, name, key, value, at) VALUES (?, ?, ?, ?, ?)",
      ...[runId, name, key, JSON.stringify(value), this.#now()],
    );
  }

  // commands

  /** False when the command was seen before. It is remembered until `forgetAt`, over restarts too. */
  rememberCommand(jti: string, forgetAt: Date): boolean {
    this.#run("DELETE FROM commands WHERE forget_at < ?", this.#clock().getTime());
    return this.#run("INSERT OR IGNORE INTO commands VALUES (?, ?)", jti, forgetAt.getTime()) === 1;
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }

  #now(): string {
    return this.#clock().toISOString();
  }

  #run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#db.prepare(sql).run(...values).changes);
  }

  #one<T extends z.ZodType>(schema: T, sql: string, ...values: SQLInputValue[]): z.output<T> | undefined {
    const row = this.#db.prepare(sql).get(...values);
    return row === undefined ? undefined : schema.parse(row);
  }

  #all<T extends z.ZodType>(schema: T, sql: string, ...values: SQLInputValue[]): z.output<T>[] {
    return this.#db
      .prepare(sql)
      .all(...values)
      .map((row) => schema.parse(row));
  }
}
