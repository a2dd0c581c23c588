/*
 * What the writers of the simulated members do, as a function of the seed and the transaction number alone. A reader that knows
 * the number of the last transaction therefore knows every byte that must stand in the writers' areas.
 *
 * Transaction t (1, 2, 3, …) is carried out by member (t - 1) mod members, in this order, each step stable before the next:
 *   1. an intent record in the journal on the member's private disk,
 *   2. pages in the area on the shared disk, in runs of RUN_PAGES,
 *   3. a commit record in the journal on the member's private disk.
 * Transaction t + 1 begins, on another member and another private disk, only after step 3 of t.
 */

export const PAGE_BYTES = 4096;
/** Pages that are written with one call: an extent of 64 KiB as databases write it, aligned to 64 KiB within the area. */
export const RUN_PAGES = 16;
export const RUN_BYTES = RUN_PAGES * PAGE_BYTES;
/** A journal entry: the intent record, then the commit record. */
export const ENTRY_BYTES = 2 * PAGE_BYTES;

/** What all disks of one estate agree on. */
export interface WriterPlan {
  /** Unsigned, 32 bits. */
  readonly seed: number;
  /** How many members take turns. */
  readonly members: number;
  /** Size of the area on the shared disk, in runs; at least 4. */
  readonly runs: number;
  /** How many of them a transaction writes; at most `runs / 4`. */
  readonly runsPerTransaction: number;
  /** Entries in the journal on each private disk, used round and round. */
  readonly journalEntries: number;
}

/** The member that carries out a transaction, counted from 0. */
export function memberOf(plan: WriterPlan, transaction: number): number {
  return (transaction - 1) % plan.members;
}

/** Index of a transaction's entry in its member's journal. */
export function entryOf(plan: WriterPlan, transaction: number): number {
  return Math.floor((transaction - 1) / plan.members) % plan.journalEntries;
}

/** The runs that a transaction writes, all different, in the order in which it writes them. */
export function runsOf(plan: WriterPlan, transaction: number): number[] {
  const chosen: number[] = [];
  for (let attempt = 0; chosen.length < plan.runsPerTransaction; attempt++) {
    const run = mix(plan.seed, transaction, attempt) % plan.runs;
    if (!chosen.includes(run)) chosen.push(run);
  }
  return chosen;
}

/**
 * Which transaction wrote each run last, after `last` transactions; 0 = none yet. Looks back only until every run has its answer.
 */
export function lastWritersOfRuns(plan: WriterPlan, last: number): Float64Array {
  const writers = new Float64Array(plan.runs);
  let unknown = plan.runs;
  for (let transaction = last; transaction > 0 && unknown > 0; transaction--) {
    for (const run of runsOf(plan, transaction)) {
      if (writers[run] !== 0) continue;
      writers[run] = transaction;
      unknown--;
    }
  }
  return writers;
}

/** The transaction whose records stand in a journal entry after `last` transactions; 0 = the entry is still empty. */
export function transactionInEntry(plan: WriterPlan, member: number, entry: number, last: number): number {
  const { members, journalEntries } = plan;
  if (last < member + 1) return 0;
  const turns = Math.floor((last - member - 1) / members); // index of the member's last turn
  const turn = turns - ((((turns - entry) % journalEntries) + journalEntries) % journalEntries);
  return turn < 0 ? 0 : turn * members + member + 1;
}

/** A well mixed unsigned 32-bit number of three numbers (murmur3's finalizer over their halves). */
export function mix(seed: number, high: number, low: number): number {
  let hash = seed >>> 0;
  for (const word of [high >>> 0, Math.floor(high / 4_294_967_296) >>> 0, low >>> 0]) {
    hash ^= word;
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    hash = (hash ^ (hash >>> 16)) + 0x9e3779b9;
  }
  return hash >>> 0;
}
