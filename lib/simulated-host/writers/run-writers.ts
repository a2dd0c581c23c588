import { setTimeout as sleep } from "node:timers/promises";
import { BackupError } from "../../errors/index.ts";
import { findLastTransaction } from "./check.ts";
import type { Member } from "./member.ts";
import { ENTRY_BYTES, entryOf, memberOf, PAGE_BYTES, RUN_BYTES, runsOf, type WriterPlan } from "./plan.ts";
import { recordOf, runContent } from "./records.ts";
import { readSuperblock, type Superblock } from "./superblock.ts";

export interface RunningWriters {
  /** Number of the last committed transaction. */
  readonly lastTransaction: number;
  readonly writtenBytes: number;
  /** Ends after the transaction that is under way; frozen members must have been thawed. */
  stop(): Promise<void>;
}

export interface WriterOptions {
  readonly members: readonly Member[];
  /** All members together; less when the disks are slower. */
  readonly bytesPerSecond: number;
  readonly onFailure: (error: unknown) => void;
}

/**
 * Lets the members take turns (see plan.ts) until they are stopped. They go on from what their disks hold: a transaction that a
 * power cut left half done is done again from its beginning.
 *
 * @throws BackupError SIMULATED_ESTATE_INVALID when a disk has no superblock of the writers
 */
export async function startWriters(options: WriterOptions): Promise<RunningWriters> {
  const { members } = options;
  const places = await Promise.all(members.map((member) => readPlaces(member)));
  const [first] = places;
  if (first === undefined) throw invalid("the estate has no members");
  const { plan } = first;
  const journals = new Map(
    members.map((member, index) => [
      member.number,
      { disk: member.private, offsetBytes: places[index]?.journalBytes ?? 0 },
    ]),
  );
  let last = await findLastTransaction(plan, journals);
  let writtenBytes = 0;
  const stopping = new AbortController();
  const bytesOfOne = plan.runsPerTransaction * RUN_BYTES + ENTRY_BYTES;

  const run = async () => {
    while (!stopping.signal.aborted) {
      const startedAt = performance.now();
      const transaction = last + 1;
      const member = members[memberOf(plan, transaction)];
      if (member === undefined) throw invalid("a member is missing");
      await member.transaction(async () => {
        if (stopping.signal.aborted) return;
        await carryOut(plan, transaction, member, first.areaBytes, places[member.number]?.journalBytes ?? 0);
        last = transaction;
        writtenBytes += bytesOfOne;
      });
      const dueMs = (bytesOfOne / options.bytesPerSecond) * 1000 - (performance.now() - startedAt);
      await sleep(Math.max(0, dueMs), undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  };
  const ended = run().catch(options.onFailure);
  return {
    get lastTransaction() {
      return last;
    },
    get writtenBytes() {
      return writtenBytes;
    },
    async stop() {
      stopping.abort();
      await ended;
    },
  };
}

/** One transaction: intent, pages, commit, each stable before the next. */
export async function carryOut(
  plan: WriterPlan,
  transaction: number,
  member: Member,
  areaBytes: number,
  journalBytes: number,
): Promise<void> {
  const entry = journalBytes + entryOf(plan, transaction) * ENTRY_BYTES;
  const { number } = member;
  await member.io(() => member.private.write(entry, recordOf(plan, "intent", number, transaction)));
  await member.io(() => member.private.flush());
  for (const run of runsOf(plan, transaction)) {
    const content = runContent(plan, run, transaction);
    await member.io(() => member.shared.write(areaBytes + run * RUN_BYTES, content));
  }
  await member.io(() => member.shared.flush());
  await member.io(() =>
    member.private.write(entry + PAGE_BYTES, recordOf(plan, "commit", number, transaction)),
  );
  await member.io(() => member.private.flush());
}

async function readPlaces(member: Member) {
  const shared = await superblockOf(member, "shared");
  const own = await superblockOf(member, "private");
  return { plan: shared.plan, areaBytes: shared.areaOffsetBytes, journalBytes: own.areaOffsetBytes };
}

async function superblockOf(member: Member, kind: "shared" | "private"): Promise<Superblock> {
  const superblock = await readSuperblock(member[kind]);
  if (superblock?.role.kind === kind) return superblock;
  throw invalid(`the ${kind} disk of member ${member.number} has no superblock of the writers`);
}

function invalid(what: string): BackupError {
  return new BackupError("SIMULATED_ESTATE_INVALID", `${what}; create the estate anew`, {
    retry: "after-operator",
  });
}
