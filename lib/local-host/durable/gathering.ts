import type { Busy } from "../busy.ts";
import { EventType, type HistoryEvent } from "./events.ts";
import type { Walker } from "./walker.ts";

/** How long completions that can't move the orchestrator's code are gathered into one episode, and at most how many. */
const GATHER_MS = 50;
const GATHER_LIMIT = 500;

/**
 * Puts off episodes whose completions, successes all, are too few to move the orchestrator's code: a fan-out of
 * thousands then costs a few episodes instead of one per result.
 */
export class Gathering {
  readonly #busy: Busy;
  readonly #wake: (id: string) => void;
  readonly #waiting = new Map<
    string,
    { readonly timer: NodeJS.Timeout; readonly leave: () => void } | "over"
  >();

  constructor(busy: Busy, wake: (id: string) => void) {
    this.#busy = busy;
    this.#wake = wake;
  }

  /** Whether to wait for more; then the instance is woken when the time is over. */
  defers(id: string, walker: Walker | undefined, events: readonly HistoryEvent[]): boolean {
    const waiting = this.#waiting.get(id);
    const canMove =
      walker === undefined ||
      events.length >= Math.min(walker.completionsToGo, GATHER_LIMIT) ||
      !events.every(isSuccess);
    if (canMove || waiting === "over") {
      this.end(id);
      return false;
    }
    if (waiting !== undefined) return true;
    const leave = this.#busy.enter();
    const timer = setTimeout(() => {
      this.#waiting.set(id, "over");
      this.#wake(id);
      leave();
    }, GATHER_MS);
    this.#waiting.set(id, { timer, leave });
    return true;
  }

  end(id: string): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting === undefined || waiting === "over") return;
    clearTimeout(waiting.timer);
    waiting.leave();
  }

  endAll(): void {
    for (const id of [...this.#waiting.keys()]) this.end(id);
  }
}

function isSuccess(event: HistoryEvent): boolean {
  return (
    event.EventType === EventType.TaskCompleted ||
    event.EventType === EventType.SubOrchestrationInstanceCompleted
  );
}
