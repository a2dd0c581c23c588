import { uniteRuns, type GranuleRuns } from "./granules.ts";

/** What was written between two RCT ids; null = it is not known any more. */
export interface Epoch {
  readonly from: string;
  readonly to: string;
  readonly runs: GranuleRuns | null;
}

export type Changes =
  { readonly kind: "known"; readonly runs: GranuleRuns } | { readonly kind: "lost"; readonly reason: string };

/**
 * Everything written between two RCT ids, each epoch being the next one's neighbour. Unknown ids, a wrong order and lost epochs
 * all mean that it cannot be known; never that nothing changed.
 */
export function changesBetween(epochs: readonly Epoch[], since: string, until: string): Changes {
  if (since === until) return { kind: "known", runs: [] };
  const first = epochs.findIndex(({ from }) => from === since);
  const last = epochs.findIndex(({ to }) => to === until);
  if (first < 0) return { kind: "lost", reason: `the host does not know the RCT id ${since} any more` };
  if (last < first) return { kind: "lost", reason: `the RCT id ${until} does not come after ${since}` };
  const runs: GranuleRuns[] = [];
  for (const epoch of epochs.slice(first, last + 1)) {
    if (epoch.runs === null) {
      return { kind: "lost", reason: `what was written after ${epoch.from} was lost with the host's power` };
    }
    runs.push(epoch.runs);
  }
  return { kind: "known", runs: uniteRuns(runs) };
}

/** Forgets what nobody can ask for: epochs before the first needed id, and borders that are not needed. */
export function pruneEpochs(epochs: readonly Epoch[], needed: ReadonlySet<string>): Epoch[] {
  const start = epochs.findIndex(({ from }) => needed.has(from));
  if (start < 0) return [];
  const kept: Epoch[] = [];
  for (const epoch of epochs.slice(start)) {
    const last = kept.at(-1);
    if (last === undefined || needed.has(epoch.from)) {
      kept.push(epoch);
      continue;
    }
    const runs = last.runs === null || epoch.runs === null ? null : uniteRuns([last.runs, epoch.runs]);
    kept[kept.length - 1] = { from: last.from, to: epoch.to, runs };
  }
  return kept;
}
