import type { FactName } from "../journal/run-facts.ts";
import type { OperationContext } from "./operation.ts";

/** Effects that the host may finish although the agent that asked for them is gone. */
export type LongEffect = Extract<FactName, "checkpointCreation" | "storageSnapshotCreation">;

type EffectContext = Pick<OperationContext, "facts" | "clock" | "pause" | "signal">;

const LOOK_EVERY_MS = 500;

/**
 * Asks the host for an effect and keeps in the journal that it was asked. A crash in between leaves the note, and whoever takes the
 * run back then knows that the effect may still appear.
 *
 * @param mayTakeMs after this time the host has either done it or never will
 */
export async function askForEffect<T>(
  { facts, clock }: Pick<EffectContext, "facts" | "clock">,
  effect: LongEffect,
  mayTakeMs: number,
  ask: () => Promise<T>,
): Promise<T> {
  facts.note(effect, { mayAppearUntil: new Date(clock().getTime() + mayTakeMs).toISOString() });
  try {
    return await ask();
  } finally {
    facts.note(effect, { mayAppearUntil: null });
  }
}

/** What `find` finds; while a cut-off effect may still appear and nothing is there, it looks again. */
export async function findSettled<T>(
  context: EffectContext,
  effect: LongEffect,
  find: () => Promise<readonly T[]>,
): Promise<readonly T[]> {
  const { facts, clock, pause, signal } = context;
  const until = facts.get(effect)?.mayAppearUntil ?? null;
  let found = await find();
  while (until !== null && found.length === 0 && clock().getTime() < Date.parse(until)) {
    await pause(LOOK_EVERY_MS, signal);
    found = await find();
  }
  if (until !== null) facts.note(effect, { mayAppearUntil: null });
  return found;
}
