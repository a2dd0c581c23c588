import type { Ending } from "./orchestrator-call.ts";
import type { Walker } from "./walker.ts";

/** What is kept in memory about a running execution between its episodes; all of it can be rebuilt from the database. */
export interface Session {
  readonly execution: string;
  /** The history as JSON lines, in order. */
  lines: string[];
  walker: Walker | undefined;
  /** Set once the orchestrator's code has ended while some of its tasks are still open. */
  ending: Ending | undefined;
}

/** Most history lines kept, over all sessions; the least recently used sessions go first. */
const MAX_LINES = 100_000;
const MAX_SESSIONS = 500;

/** A bounded cache of sessions, least recently used out first. */
export class SessionCache {
  readonly #sessions = new Map<string, { readonly session: Session; readonly size: number }>();
  #lines = 0;

  get(id: string, execution: string): Session | undefined {
    const found = this.#sessions.get(id)?.session;
    return found?.execution === execution ? found : undefined;
  }

  set(id: string, session: Session): void {
    this.delete(id);
    const size = session.lines.length;
    this.#sessions.set(id, { session, size });
    this.#lines += size;
    for (const oldest of this.#sessions.keys()) {
      if (this.#sessions.size <= MAX_SESSIONS && this.#lines <= MAX_LINES) break;
      if (oldest !== id) this.delete(oldest);
      else if (this.#sessions.size === 1) break;
    }
  }

  delete(id: string): void {
    const found = this.#sessions.get(id);
    if (found === undefined) return;
    this.#lines -= found.size;
    this.#sessions.delete(id);
  }
}
