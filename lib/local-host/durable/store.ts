import type { Database } from "./database.ts";
import type { HistoryEvent } from "./events.ts";

export type RuntimeStatus = "Pending" | "Running" | "Completed" | "Failed" | "Terminated" | "Suspended";
export const FINISHED: readonly RuntimeStatus[] = ["Completed", "Failed", "Terminated"];

export function isFinished(status: RuntimeStatus): boolean {
  return FINISHED.includes(status);
}

export type InstanceRow = {
  readonly id: string;
  /** Changes with every start, restart and continue-as-new. */
  readonly execution: string;
  readonly name: string;
  readonly version: string;
  readonly status: RuntimeStatus;
  readonly input: string | null;
  readonly output: string | null;
  readonly custom_status: string | null;
  readonly parent: string | null;
  readonly parent_execution: string | null;
  readonly parent_task: number | null;
  readonly created: number;
  readonly updated: number;
  readonly attempts: number;
};

export interface InboxRow extends Record<string, unknown> {
  readonly seq: number;
  readonly execution: string | null;
  readonly visible_at: number;
  readonly event: string;
}

export type WorkRow = {
  readonly seq: number;
  readonly kind: "activity" | "http";
  readonly instance: string;
  readonly execution: string;
  readonly task: number;
  readonly name: string;
  readonly input: string | null;
  readonly attempts: number;
};

export interface EntityRow extends Record<string, unknown> {
  readonly id: string;
  /** JSON text; empty when the entity exists without a state, null when it does not exist. */
  readonly state: string | null;
  /** Request id of the lock that is held, and the instance that holds it. */
  readonly locked_by: string | null;
  readonly locked_for: string | null;
  readonly updated: number;
}

export interface EntityInboxRow extends Record<string, unknown> {
  readonly seq: number;
  readonly visible_at: number;
  readonly message: string;
}

/** Every statement on instances, their histories and their inboxes, in one place. Call inside a transaction to change several. */
export class InstanceStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  get(id: string): InstanceRow | undefined {
    return this.#db.get<InstanceRow>("SELECT * FROM instances WHERE id = ?", id);
  }

  /** Creates an instance, in the place of a finished one if need be. */
  insert(row: Omit<InstanceRow, "attempts" | "output" | "custom_status" | "status" | "updated">): void {
    this.clear(row.id);
    this.#db.run(
      `INSERT INTO instances (id, execution, name, version, status, input, parent, parent_execution, parent_task, created, updated)
       VALUES (?, ?, ?, ?, 'Pending', ?, ?, ?, ?, ?, ?)`,
      row.id,
      row.execution,
      row.name,
      row.version,
      row.input,
      row.parent,
      row.parent_execution,
      row.parent_task,
      row.created,
      row.created,
    );
  }

  update(id: string, change: Pick<InstanceRow, "status" | "output" | "custom_status" | "updated">): void {
    this.#db.run(
      "UPDATE instances SET status = ?, output = ?, custom_status = ?, updated = ?, attempts = 0 WHERE id = ?",
      change.status,
      change.output,
      change.custom_status,
      change.updated,
      id,
    );
  }

  setStatus(id: string, status: RuntimeStatus, updated: number): void {
    this.#db.run("UPDATE instances SET status = ?, updated = ? WHERE id = ?", status, updated, id);
  }

  /** Notes that an episode is about to run, for instances that may have killed the process before. */
  countAttempt(id: string): void {
    this.#db.run("UPDATE instances SET attempts = attempts + 1 WHERE id = ?", id);
  }

  /** The next execution of a running instance: history and messages of the former one go, events from outside stay. */
  renew(id: string, execution: string, input: string | null, updated: number): void {
    this.#db.run("DELETE FROM history WHERE instance = ?", id);
    this.#db.run("DELETE FROM inbox WHERE instance = ? AND execution IS NOT NULL", id);
    this.#db.run("DELETE FROM work WHERE instance = ?", id);
    this.#db.run(
      "UPDATE instances SET execution = ?, input = ?, updated = ?, attempts = 0 WHERE id = ?",
      execution,
      input,
      updated,
      id,
    );
  }

  /** Removes everything of an instance. @returns whether it was there */
  clear(id: string): boolean {
    this.#db.run("DELETE FROM history WHERE instance = ?", id);
    this.#db.run("DELETE FROM inbox WHERE instance = ?", id);
    this.#db.run("DELETE FROM work WHERE instance = ?", id);
    return this.#db.run("DELETE FROM instances WHERE id = ?", id) > 0;
  }

  history(id: string): string[] {
    return this.#db
      .all<{ event: string }>("SELECT event FROM history WHERE instance = ? ORDER BY seq", id)
      .map(({ event }) => event);
  }

  append(id: string, firstSeq: number, events: readonly string[]): void {
    events.forEach((event, index) => {
      this.#db.run(
        "INSERT INTO history (instance, seq, event) VALUES (?, ?, ?)",
        id,
        firstSeq + index,
        event,
      );
    });
  }

  replaceHistory(id: string, events: readonly string[]): void {
    this.#db.run("DELETE FROM history WHERE instance = ?", id);
    this.append(id, 0, events);
  }

  send(instance: string, execution: string | null, visibleAt: number, event: HistoryEvent): void {
    this.#db.run(
      "INSERT INTO inbox (instance, execution, visible_at, timer, event) VALUES (?, ?, ?, ?, ?)",
      instance,
      execution,
      visibleAt,
      event.EventType === 11 ? event.TimerId : null,
      JSON.stringify(event),
    );
  }

  /** Messages that are due, in the order in which they were sent. */
  due(instance: string, nowMs: number, limit: number): InboxRow[] {
    return this.#db.all<InboxRow>(
      "SELECT seq, execution, visible_at, event FROM inbox WHERE instance = ? AND visible_at <= ? ORDER BY visible_at, seq LIMIT ?",
      instance,
      nowMs,
      limit,
    );
  }

  take(messages: readonly InboxRow[]): void {
    for (const { seq } of messages) this.#db.run("DELETE FROM inbox WHERE seq = ?", seq);
  }

  cancelTimer(instance: string, execution: string, timer: number): void {
    this.#db.run(
      "DELETE FROM inbox WHERE instance = ? AND execution = ? AND timer = ?",
      instance,
      execution,
      timer,
    );
  }

  /** What a finished execution still had under way. */
  dropPending(instance: string): void {
    this.#db.run("DELETE FROM inbox WHERE instance = ?", instance);
    this.#db.run("DELETE FROM work WHERE instance = ? AND leased_at = 0", instance);
  }

  addWork(row: Omit<WorkRow, "seq" | "attempts"> & { readonly notBefore: number }): void {
    this.#db.run(
      "INSERT INTO work (kind, instance, execution, task, name, input, not_before) VALUES (?, ?, ?, ?, ?, ?, ?)",
      row.kind,
      row.instance,
      row.execution,
      row.task,
      row.name,
      row.input,
      row.notBefore,
    );
  }

  /** Instances with a due message that arrived or fell due after `afterMs`. */
  instancesDue(afterMs: number, nowMs: number): string[] {
    return this.#db
      .all<{ instance: string }>(
        "SELECT DISTINCT instance FROM inbox WHERE visible_at > ? AND visible_at <= ?",
        afterMs,
        nowMs,
      )
      .map(({ instance }) => instance);
  }

  /** The next instant at which something falls due by itself, or undefined. */
  nextDue(afterMs: number): number | undefined {
    const row = this.#db.get<{ due: number | null }>(
      `SELECT min(due) AS due FROM (
         SELECT min(visible_at) AS due FROM inbox WHERE visible_at > ?1
         UNION ALL SELECT min(visible_at) FROM entity_inbox WHERE visible_at > ?1
         UNION ALL SELECT min(not_before) FROM work WHERE leased_at = 0 AND not_before > ?1)`,
      afterMs,
    );
    return row?.due ?? undefined;
  }

  park(
    kind: string,
    target: string,
    name: string,
    reason: string,
    payload: string | null,
    nowMs: number,
  ): void {
    this.#db.run(
      "INSERT INTO parked (kind, target, name, reason, payload, parked_at) VALUES (?, ?, ?, ?, ?, ?)",
      kind,
      target,
      name,
      reason,
      payload,
      nowMs,
    );
  }

  parked(): Record<string, unknown>[] {
    return this.#db.all("SELECT * FROM parked ORDER BY seq DESC LIMIT 1000");
  }
}
