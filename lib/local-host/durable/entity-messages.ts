import * as z from "zod";
import type { EngineContext } from "./engine-context.ts";

/** What waits in an entity's inbox. `id` of an operation is where its answer goes; of a lock it names the critical section. */
export const EntityMessage = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("op"),
    id: z.string(),
    op: z.string(),
    signal: z.boolean(),
    input: z.string().nullable(),
    /** The calling instance; null for signals from outside. */
    parent: z.string().nullable(),
    parentExecution: z.string().nullable(),
  }),
  z.object({
    kind: z.literal("lock"),
    id: z.string(),
    entities: z.array(z.string()).readonly(),
    /** Which of the entities is asked next; they are locked in their order, so that no two sections block each other. */
    position: z.int(),
    parent: z.string(),
    parentExecution: z.string(),
  }),
  z.object({ kind: z.literal("release"), id: z.string(), parent: z.string() }),
]);
export type EntityMessage = z.infer<typeof EntityMessage>;

export interface EntityId {
  readonly name: string;
  readonly key: string;
}

/** Splits `@name@key`. @returns undefined for anything else */
export function parseEntityId(id: string): EntityId | undefined {
  const match = /^@([^@]+)@(.*)$/s.exec(id);
  const [, name, key] = match ?? [];
  return name === undefined || key === undefined ? undefined : { name, key };
}

/** `@name@key` with the name in lower case: entity names have no case. */
export function formatEntityId({ name, key }: EntityId): string {
  return `@${name.toLowerCase()}@${key}`;
}

/** Adds a message inside the caller's transaction. @returns to be called after it */
export function sendToEntity(
  { db, wake }: EngineContext,
  entity: string,
  message: EntityMessage,
  visibleAt: number,
  nowMs: number,
): () => void {
  db.run(
    "INSERT INTO entity_inbox (entity, sender, visible_at, message) VALUES (?, ?, ?, ?)",
    entity,
    message.parent,
    visibleAt,
    JSON.stringify(message),
  );
  return visibleAt > nowMs
    ? wake.timer
    : () => {
        wake.entity(entity);
      };
}
