import * as z from "zod";
import type { Wakes } from "./effects.ts";
import type { EngineContext } from "./engine-context.ts";
import { EntityMessage, formatEntityId, parseEntityId, sendToEntity } from "./entity-messages.ts";
import { EventType, historyEvent } from "./events.ts";
import { thrownBy } from "./failures.ts";
import { Lanes } from "./lanes.ts";
import { isFinished, type EntityInboxRow, type EntityRow } from "./store.ts";

type Operation = Extract<EntityMessage, { kind: "op" }>;

/** What durable-functions' entity wrapper gives back for a batch. */
const BatchReply = z.object({
  entityExists: z.boolean().nullish(),
  entityState: z.string().nullish(),
  results: z.array(z.object({ isError: z.boolean(), result: z.string().nullish() }).nullish()),
  signals: z.array(
    z.object({
      target: z.object({ name: z.string(), key: z.string() }),
      name: z.string(),
      input: z.string().nullish(),
    }),
  ),
});
type BatchReply = z.infer<typeof BatchReply>;

/**
 * Runs entities: one batch of operations at a time per entity, in the order in which they arrived. The new state, the
 * answers, the signals and the removal of the messages are one transaction.
 *
 * A lock is taken entity by entity in the order of the lock set; while it is held, only the instance that holds it gets
 * its operations through.
 */
export class Entities {
  readonly #engine: EngineContext;
  readonly #lanes: Lanes;
  /** Entities that had messages when a former process died: one operation at a time, counted, until one succeeds. */
  readonly #suspects = new Set<string>();

  constructor(engine: EngineContext) {
    this.#engine = engine;
    this.#lanes = new Lanes({
      run: async (id) => {
        while (await this.#step(id));
      },
      onError: (id, error) => {
        engine.log({
          level: "error",
          category: "host",
          message: `Entity '${id}' could not take its messages, which is tried again soon: ${String(error)}`,
        });
      },
      width: engine.settings.maxConcurrentEntityFunctions,
      busy: engine.busy,
    });
  }

  wake(id: string): void {
    this.#lanes.wake(id);
  }

  suspect(id: string): void {
    this.#suspects.add(id);
  }

  stop(): void {
    this.#lanes.stop();
  }

  /** Takes one lock message or one batch of operations. @returns whether there may be more to do */
  async #step(id: string): Promise<boolean> {
    const { db, settings } = this.#engine;
    const entity = db.get<EntityRow>("SELECT * FROM entities WHERE id = ?", id);
    const limit = this.#suspects.has(id) ? 1 : settings.maxEntityOperationBatchSize;
    const waiting = this.#due(id, entity?.locked_for ?? null, limit).map((row) => ({
      row,
      message: EntityMessage.parse(JSON.parse(row.message)),
    }));
    const [first] = waiting;
    if (first === undefined) return false;
    if (first.message.kind !== "op") {
      this.#changeLock(id, first.row, first.message);
      return true;
    }
    const batch: { readonly row: EntityInboxRow; readonly operation: Operation }[] = [];
    for (const { row, message } of waiting) {
      if (message.kind !== "op") break;
      batch.push({ row, operation: message });
    }
    await this.#runBatch(id, entity, batch);
    return true;
  }

  /** Messages in their order; while the entity is locked, only those of the instance that holds the lock. */
  #due(id: string, owner: string | null, limit: number): EntityInboxRow[] {
    const { db, clock } = this.#engine;
    const nowMs = clock.now();
    return owner === null
      ? db.all<EntityInboxRow>(
          "SELECT seq, visible_at, message FROM entity_inbox WHERE entity = ? AND visible_at <= ? ORDER BY visible_at, seq LIMIT ?",
          id,
          nowMs,
          limit,
        )
      : db.all<EntityInboxRow>(
          "SELECT seq, visible_at, message FROM entity_inbox WHERE entity = ? AND sender = ? AND visible_at <= ? ORDER BY visible_at, seq LIMIT ?",
          id,
          owner,
          nowMs,
          limit,
        );
  }

  #drop(row: EntityInboxRow): void {
    this.#engine.db.run("DELETE FROM entity_inbox WHERE seq = ?", row.seq);
  }

  #changeLock(id: string, row: EntityInboxRow, message: Exclude<EntityMessage, Operation>): void {
    const { db, store, clock, wake } = this.#engine;
    const nowMs = clock.now();
    const wakes: Wakes = [];
    db.transaction(() => {
      this.#drop(row);
      if (message.kind === "release") {
        const held = db.get<EntityRow>("SELECT * FROM entities WHERE id = ?", id)?.locked_by;
        if (held === message.id) this.#save(id, { locked_by: null, locked_for: null }, nowMs);
        return;
      }
      const owner = store.get(message.parent);
      if (owner?.execution !== message.parentExecution || isFinished(owner.status)) return;
      this.#save(id, { locked_by: message.id, locked_for: message.parent }, nowMs);
      const next = message.entities[message.position + 1];
      if (next !== undefined) {
        wakes.push(
          sendToEntity(this.#engine, next, { ...message, position: message.position + 1 }, nowMs, nowMs),
        );
        return;
      }
      const granted = historyEvent(
        { EventType: EventType.EventRaised, Name: message.id, Input: "{}" },
        nowMs,
      );
      store.send(message.parent, message.parentExecution, nowMs, granted);
      wakes.push(() => {
        wake.instance(message.parent);
      });
    });
    for (const each of wakes) each();
  }

  async #runBatch(
    id: string,
    entity: EntityRow | undefined,
    batch: readonly { row: EntityInboxRow; operation: Operation }[],
  ): Promise<void> {
    const { db, clock } = this.#engine;
    const operations = batch.map(({ operation }) => operation);
    const poison = this.#countAttempt(id, operations);
    const reply = poison ?? (await this.#call(id, entity, operations));
    const nowMs = clock.now();
    const wakes: Wakes = [];
    db.transaction(() => {
      for (const { row } of batch) this.#drop(row);
      if (this.#suspects.has(id)) db.run("DELETE FROM entity_attempts WHERE entity = ?", id);
      const state = reply.entityExists === true ? (reply.entityState ?? "") : null;
      this.#save(id, { state }, nowMs);
      operations.forEach((operation, index) => {
        if (!operation.signal) this.#answer(operation, reply.results[index], nowMs, wakes);
      });
      for (const { target, name, input } of reply.signals) {
        const signal: Operation = {
          kind: "op",
          id: "",
          op: name,
          signal: true,
          input: input === "" ? null : (input ?? null),
          parent: null,
          parentExecution: null,
        };
        wakes.push(sendToEntity(this.#engine, formatEntityId(target), signal, nowMs, nowMs));
      }
    });
    // An operation that was parked leaves the next one just as doubtful.
    if (poison === undefined) this.#suspects.delete(id);
    for (const each of wakes) each();
  }

  /** @returns the answer in place of a run, once the process has died too often over it */
  #countAttempt(id: string, operations: readonly Operation[]): BatchReply | undefined {
    const { db, store, clock, maxDeliveries, log } = this.#engine;
    if (!this.#suspects.has(id)) return undefined;
    const attempts =
      db.get<{ attempts: number }>("SELECT attempts FROM entity_attempts WHERE entity = ?", id)?.attempts ??
      0;
    if (attempts < maxDeliveries) {
      db.run("INSERT OR REPLACE INTO entity_attempts (entity, attempts) VALUES (?, ?)", id, attempts + 1);
      return undefined;
    }
    const names = operations.map(({ op }) => op).join(", ");
    const reason = `The process ended ${attempts} times while entity '${id}' ran '${names}'; it is not run again.`;
    store.park("entity", id, names, reason, JSON.stringify(operations), clock.now());
    log({ level: "error", category: "host", message: reason });
    const state = db.get<EntityRow>("SELECT * FROM entities WHERE id = ?", id)?.state ?? null;
    const failed = { isError: true, result: JSON.stringify(reason) };
    return {
      entityExists: state !== null,
      entityState: state,
      results: operations.map(() => failed),
      signals: [],
    };
  }

  #answer(operation: Operation, result: BatchReply["results"][number], nowMs: number, wakes: Wakes): void {
    const { store, wake } = this.#engine;
    const { parent, parentExecution } = operation;
    if (parent === null) return;
    const answer = {
      result: result?.result ?? "null",
      ...(result?.isError === true ? { exceptionType: "System.Exception" } : {}),
    };
    const event = historyEvent(
      { EventType: EventType.EventRaised, Name: operation.id, Input: JSON.stringify(answer) },
      nowMs,
    );
    store.send(parent, parentExecution, nowMs, event);
    wakes.push(() => {
      wake.instance(parent);
    });
  }

  async #call(
    id: string,
    entity: EntityRow | undefined,
    operations: readonly Operation[],
  ): Promise<BatchReply> {
    const { registry, log, caller } = this.#engine;
    const self = parseEntityId(id) ?? { name: id, key: "" };
    const state = entity?.state ?? null;
    try {
      const fn = registry.find(self.name, "entitytrigger");
      if (fn === undefined) throw new Error(`The app has no entity function '${self.name}'.`);
      const payload = {
        self,
        exists: state !== null,
        state: state === "" ? null : state,
        batch: operations.map(({ id: requestId, op, input, signal }) => ({
          id: requestId,
          name: op,
          input,
          isSignal: signal,
        })),
      };
      const { response } = await caller.call(
        fn,
        { json: JSON.stringify(payload) },
        { triggerMetadata: { instanceId: { string: id } } },
      );
      return BatchReply.parse(JSON.parse(response.returnValue?.json ?? "null"));
    } catch (error) {
      const { message } = thrownBy(error);
      log({ level: "error", category: "host", message: `Entity '${id}' failed as a whole: ${message}` });
      const failed = { isError: true, result: JSON.stringify(message) };
      return {
        entityExists: state !== null,
        entityState: state,
        results: operations.map(() => failed),
        signals: [],
      };
    }
  }

  #save(
    id: string,
    change: Partial<Pick<EntityRow, "state" | "locked_by" | "locked_for">>,
    nowMs: number,
  ): void {
    const { db } = this.#engine;
    const now = db.get<EntityRow>("SELECT * FROM entities WHERE id = ?", id);
    const next = { state: null, locked_by: null, locked_for: null, ...now, ...change };
    if (next.state === null && next.locked_by === null) {
      db.run("DELETE FROM entities WHERE id = ?", id);
      return;
    }
    db.run(
      `INSERT INTO entities (id, state, locked_by, locked_for, updated) VALUES (?1, ?2, ?3, ?4, ?5)
       ON CONFLICT (id) DO UPDATE SET state = ?2, locked_by = ?3, locked_for = ?4, updated = ?5`,
      id,
      next.state,
      next.locked_by,
      next.locked_for,
      nowMs,
    );
  }
}
