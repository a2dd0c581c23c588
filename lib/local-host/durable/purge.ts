import type { EngineContext } from "./engine-context.ts";
import { listInstances, type InstanceFilter } from "./queries.ts";
import { isFinished } from "./store.ts";

/** Removes the finished instances that a filter finds, a hundred per transaction. @returns how many */
export function purgeInstances({ db, store }: EngineContext, filter: InstanceFilter): number {
  let removed = 0;
  let after: { readonly created: number; readonly id: string } | undefined;
  do {
    const { rows, next } = listInstances(db, filter, 100, after);
    after = next;
    db.transaction(() => {
      for (const row of rows) if (isFinished(row.status) && store.clear(row.id)) removed++;
    });
  } while (after !== undefined);
  return removed;
}

/** Removes finished instances that were last touched before an instant, a hundred per transaction. @returns how many */
export function purgeOlder({ db, store }: EngineContext, instantMs: number): number {
  let removed = 0;
  for (;;) {
    const rows = db.all<{ id: string }>(
      "SELECT id FROM instances WHERE status IN ('Completed', 'Failed', 'Terminated') AND updated < ? LIMIT 100",
      instantMs,
    );
    if (rows.length === 0) return removed;
    removed += db.transaction(() => rows.filter(({ id }) => store.clear(id)).length);
  }
}
