import { randomInt } from "node:crypto";
import type { AccessPolicy } from "./access.ts";
import type { ListenerChannel } from "./channels.ts";

/** One hybrid connection of the emulated namespace. */
export interface EmulatedConnection extends AccessPolicy {
  /** Default true; false lets senders in without a token. */
  readonly requiresClientAuthorization?: boolean;
}

/** A hybrid connection and the listeners that are connected to it. */
export interface Entity {
  readonly connection: EmulatedConnection;
  readonly listeners: Set<ListenerChannel>;
}

/** The entity that a path belongs to: the longest name that the path starts with, segment by segment. */
export function findEntity(entities: readonly Entity[], pathname: string): Entity | undefined {
  const path = `${pathname.toLowerCase()}/`;
  return entities
    .filter(({ connection }) => path.startsWith(`/${connection.path.toLowerCase()}/`))
    .sort((a, b) => b.connection.path.length - a.connection.path.length)[0];
}

/** Any of the listeners, each as likely as the other. */
export function pickListener(entity: Entity): ListenerChannel | undefined {
  const all = [...entity.listeners];
  return all.length === 0 ? undefined : all[randomInt(all.length)];
}

export function needsSenderToken(entity: Entity): boolean {
  return entity.connection.requiresClientAuthorization ?? true;
}
