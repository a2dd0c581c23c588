import { randomUUID } from "node:crypto";
import { createInstance } from "./effects.ts";
import type { EngineContext } from "./engine-context.ts";
import { formatEntityId, sendToEntity, type EntityId } from "./entity-messages.ts";
import { EventType, historyEvent, type EventBody } from "./events.ts";
import { isFinished, type InstanceRow } from "./store.ts";

export type CommandResult = "accepted" | "not-found" | "finished";

export interface StartRequest {
  readonly name: string;
  readonly instanceId: string | undefined;
  readonly input: string | null;
  readonly version: string | undefined;
}

/** What clients may ask of the engine. Each command is one transaction; its effect is on the disk when it returns. */
export class ClientCommands {
  readonly #engine: EngineContext;

  constructor(engine: EngineContext) {
    this.#engine = engine;
  }

  /**
   * Starts an instance. Of two starts with one id at the same time exactly one succeeds; a finished instance is replaced.
   * @returns the id, or why not
   */
  start({
    name,
    instanceId,
    input,
    version,
  }: StartRequest):
    { readonly id: string } | { readonly refused: "unknown-function" | "running" | "bad-id" } {
    const { registry, store, settings, db, clock, wake } = this.#engine;
    const fn = registry.find(name, "orchestrationtrigger");
    if (fn === undefined) return { refused: "unknown-function" };
    const id = instanceId ?? randomUUID().replaceAll("-", "");
    if (id.startsWith("@") || /[/\\#?\p{Cc}]/u.test(id) || id.length > 256) return { refused: "bad-id" };
    const isStarted = db.transaction(() => {
      const existing = store.get(id);
      if (existing !== undefined && !isFinished(existing.status)) return false;
      createInstance(this.#engine, {
        id,
        name: fn.metadata.name,
        version: version ?? settings.defaultVersion ?? "",
        input,
        nowMs: clock.now(),
      });
      return true;
    });
    if (!isStarted) return { refused: "running" };
    wake.instance(id);
    return { id };
  }

  raiseEvent(id: string, name: string, input: string | null): CommandResult {
    return this.#send(id, { EventType: EventType.EventRaised, Name: name, Input: input }, false);
  }

  terminate(id: string, reason: string): CommandResult {
    return this.#send(id, { EventType: EventType.ExecutionTerminated, Input: reason }, true);
  }

  suspend(id: string, reason: string): CommandResult {
    return this.#send(id, { EventType: EventType.ExecutionSuspended, Reason: reason }, true);
  }

  resume(id: string, reason: string): CommandResult {
    return this.#send(id, { EventType: EventType.ExecutionResumed, Reason: reason }, true);
  }

  /** Removes a finished instance. @returns how many instances were removed */
  purge(id: string): number {
    const { store, db } = this.#engine;
    return db.transaction(() => {
      const row = store.get(id);
      if (row === undefined || !isFinished(row.status)) return 0;
      return store.clear(id) ? 1 : 0;
    });
  }

  /** Runs a finished instance again from its input, under its own id or a new one. */
  restart(
    id: string,
    withNewId: boolean,
  ): { readonly id: string } | { readonly refused: "not-found" | "running" } {
    const { store, db, clock, wake } = this.#engine;
    const started = db.transaction(
      (): { readonly id: string } | { readonly refused: "not-found" | "running" } => {
        const row = store.get(id);
        if (row === undefined) return { refused: "not-found" };
        if (!withNewId && !isFinished(row.status)) return { refused: "running" };
        const target = withNewId ? randomUUID().replaceAll("-", "") : id;
        createInstance(this.#engine, {
          id: target,
          name: row.name,
          version: row.version,
          input: row.input,
          nowMs: clock.now(),
        });
        return { id: target };
      },
    );
    if ("id" in started) wake.instance(started.id);
    return started;
  }

  signalEntity(entity: EntityId, operation: string, input: string | null, atMs?: number): void {
    const { db, clock } = this.#engine;
    const nowMs = clock.now();
    const wake = db.transaction(() =>
      sendToEntity(
        this.#engine,
        formatEntityId(entity),
        {
          kind: "op",
          id: randomUUID(),
          op: operation,
          signal: true,
          input,
          parent: null,
          parentExecution: null,
        },
        Math.max(atMs ?? 0, nowMs),
        nowMs,
      ),
    );
    wake();
  }

  /** @param forThisExecution whether the message is void once the instance has started anew */
  #send(id: string, body: EventBody, forThisExecution: boolean): CommandResult {
    const { store, clock, wake, db } = this.#engine;
    const nowMs = clock.now();
    const result = db.transaction((): CommandResult => {
      const row: InstanceRow | undefined = store.get(id);
      if (row === undefined) return "not-found";
      if (isFinished(row.status)) return "finished";
      store.send(id, forThisExecution ? row.execution : null, nowMs, historyEvent(body, nowMs));
      return "accepted";
    });
    if (result === "accepted") wake.instance(id);
    return result;
  }
}
