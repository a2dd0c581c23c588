import { EventType, type HistoryEvent } from "./events.ts";
import type { InboxRow, InstanceRow } from "./store.ts";
import { OrchestratorFault } from "./orchestrator-fault.ts";
import type { Walker } from "./walker.ts";

export interface Message {
  readonly row: InboxRow;
  readonly event: HistoryEvent;
}

/** What an instance's due messages amount to. */
export interface Sorted {
  /** To be processed, the start first. */
  readonly accepted: readonly Message[];
  /** For a former execution. */
  readonly dropped: readonly Message[];
  readonly terminated: HistoryEvent | undefined;
  /** Whether the instance is suspended once they are taken: the last word counts. */
  readonly isSuspended: boolean;
}

/** Sorts due messages. What a suspended instance may not see yet is in neither list: it waits in the inbox. */
export function sortMessages(row: InstanceRow, due: readonly InboxRow[]): Sorted {
  const messages = due.map((each): Message => ({ row: each, event: JSON.parse(each.event) as HistoryEvent }));
  const isCurrent = ({ row: { execution } }: Message): boolean =>
    execution === null || execution === row.execution;
  const current = messages.filter(isCurrent);
  const control = current.findLast(({ event }) => isControl(event))?.event;
  const isSuspended =
    control === undefined ? row.status === "Suspended" : control.EventType === EventType.ExecutionSuspended;
  const accepted = isSuspended ? current.filter(({ event }) => isControl(event)) : current;
  return {
    accepted: accepted.sort((a, b) => rank(a.event) - rank(b.event)),
    dropped: messages.filter((message) => !isCurrent(message)),
    terminated: current.find(({ event }) => event.EventType === EventType.ExecutionTerminated)?.event,
    isSuspended,
  };
}

/** Suspend and resume: they are recorded, and the orchestrator's code does not see them. */
export function isControl(event: HistoryEvent): boolean {
  return event.EventType === EventType.ExecutionSuspended || event.EventType === EventType.ExecutionResumed;
}

function rank(event: HistoryEvent): number {
  return event.EventType === EventType.ExecutionStarted ? 0 : 1;
}

/**
 * Gives a walker the history and the new events.
 * @returns the messages that were processed: events from outside that come after a continue-as-new are left for the next execution
 */
export function feed(
  walker: Walker,
  lines: readonly string[],
  started: HistoryEvent,
  messages: readonly Message[],
): Message[] {
  for (const line of lines) walker.apply(JSON.parse(line) as HistoryEvent);
  walker.apply(started);
  const taken: Message[] = [];
  for (const message of messages) {
    if (walker.continuedAsNew !== undefined && message.event.EventType === EventType.EventRaised) continue;
    walker.apply(message.event);
    taken.push(message);
  }
  return taken;
}

/**
 * Compares the ids that the host allotted with those that the SDK did, where it lets them be seen.
 * @throws OrchestratorFault
 */
export function assertSameIds(walker: Walker, sdk: ReadonlySet<string> | undefined): void {
  if (sdk === undefined) return;
  const own = walker.openKeys;
  const differ = [...[...own].filter((key) => !sdk.has(key)), ...[...sdk].filter((key) => !own.has(key))];
  if (differ.length === 0) return;
  throw new OrchestratorFault(
    `The task ids of the orchestrator and of the host have run apart (${differ.slice(0, 5).join(", ")}), so results would reach the wrong tasks, ` +
      "on Azure too. A task that loses a Task.any and is yielded later while other retries are under way does this; give every composite its own tasks.",
  );
}
