import {
  ENTRY_BYTES,
  entryOf,
  lastWritersOfRuns,
  memberOf,
  PAGE_BYTES,
  RUN_BYTES,
  RUN_PAGES,
  runsOf,
  transactionInEntry,
  type WriterPlan,
} from "./plan.ts";
import { recordOf, stampOf, type RecordKind } from "./records.ts";
import { readSuperblock, type DiskReader, type Superblock } from "./superblock.ts";

export interface WriterCheck {
  readonly consistent: boolean;
  /** Number of the last committed transaction; 0 when there is none. */
  readonly lastTransaction: number;
  /**
   * Transaction of which only a part is there: null in an application-consistent point, allowed in a crash-consistent one.
   */
  readonly inFlight: number | null;
  /** Pages and records that were compared byte by byte. */
  readonly checkedPages: number;
  /** How many rules are broken; `violations` names the first of them. */
  readonly violationCount: number;
  readonly violations: readonly string[];
}

export interface CheckOptions {
  /** "application": a transaction that is only partly there breaks the rules. Default "crash": one may be. */
  readonly consistency?: "application" | "crash";
}

const MAX_NAMED = 20;

/**
 * Whether disks are one instant of the estate, by the disks alone: everything up to the last committed transaction is there to
 * the byte, on every disk, and nothing later but a part of the one transaction that its intent record announces.
 */
export async function checkWriters(
  disks: { readonly shared: DiskReader; readonly privateDisks: readonly DiskReader[] },
  options: CheckOptions = {},
): Promise<WriterCheck> {
  return checkWriterDisks([disks.shared, ...disks.privateDisks], options);
}

/** Like `checkWriters`; which disk is which is read from the disks, disks without writers are left alone. */
export async function checkWriterDisks(
  disks: readonly DiskReader[],
  options: CheckOptions = {},
): Promise<WriterCheck> {
  const found: { readonly disk: DiskReader; readonly superblock: Superblock }[] = [];
  for (const disk of disks) {
    const superblock = await readSuperblock(disk);
    if (superblock !== undefined) found.push({ disk, superblock });
  }
  const check = new Check();
  const shared = found.filter(({ superblock }) => superblock.role.kind === "shared");
  const [first] = shared;
  if (first === undefined || shared.length > 1) {
    check.fail(`${shared.length} shared disks with a good superblock of the writers instead of one`);
    return check.result(0, null);
  }
  const { plan, estateId } = first.superblock;
  const journals = new Map<number, Area>();
  for (const { disk, superblock } of found) {
    const { role, areaOffsetBytes } = superblock;
    if (superblock.estateId !== estateId || JSON.stringify(superblock.plan) !== JSON.stringify(plan)) {
      check.fail("the disks are of different estates");
      return check.result(0, null);
    }
    if (role.kind !== "private") continue;
    if (journals.has(role.member)) check.fail(`two private disks of member ${role.member}`);
    journals.set(role.member, { disk, offsetBytes: areaOffsetBytes });
  }
  for (let member = 0; member < plan.members; member++) {
    if (!journals.has(member)) check.fail(`the private disk of member ${member} is missing`);
  }
  const last = await findLastTransaction(plan, journals);
  const hasIntent = await checkJournals(check, plan, journals, last);
  const isPartlyThere = await checkPages(
    check,
    plan,
    { disk: first.disk, offsetBytes: first.superblock.areaOffsetBytes },
    last,
    hasIntent,
  );
  const inFlight = hasIntent || isPartlyThere ? last + 1 : null;
  if (inFlight !== null && options.consistency === "application") {
    check.fail(`transaction ${inFlight} is only partly there in an application-consistent point`);
  }
  return check.result(last, inFlight);
}

interface Area {
  readonly disk: DiskReader;
  readonly offsetBytes: number;
}

/** The highest transaction with a commit record that is good to the byte; also what a restarted member goes on from. */
export async function findLastTransaction(
  plan: WriterPlan,
  journals: ReadonlyMap<number, Area>,
): Promise<number> {
  let last = 0;
  for (const [member, journal] of journals) {
    for await (const { entry, bytes } of entriesOf(plan, journal)) {
      const commit = bytes.subarray(PAGE_BYTES);
      const transaction = stampOf(commit, "commit");
      if (transaction === undefined || transaction <= last) continue;
      if (memberOf(plan, transaction) !== member || entryOf(plan, transaction) !== entry) continue;
      if (equals(commit, recordOf(plan, "commit", member, transaction))) last = transaction;
    }
  }
  return last;
}

/** @returns whether the intent record of the transaction behind the last one is there */
async function checkJournals(
  check: Check,
  plan: WriterPlan,
  journals: ReadonlyMap<number, Area>,
  last: number,
): Promise<boolean> {
  let hasIntent = false;
  const next = last + 1;
  for (const [member, journal] of journals) {
    const nextEntry = memberOf(plan, next) === member ? entryOf(plan, next) : -1;
    for await (const { entry, bytes } of entriesOf(plan, journal)) {
      const expected = transactionInEntry(plan, member, entry, last);
      const intent = bytes.subarray(0, PAGE_BYTES);
      const where = (kind: RecordKind) => `${kind} record ${entry} of member ${member}`;
      check.pages += 2;
      if (entry === nextEntry && isRecord(plan, intent, "intent", member, next)) hasIntent = true;
      else check.record(plan, intent, "intent", member, expected, where("intent"));
      check.record(plan, bytes.subarray(PAGE_BYTES), "commit", member, expected, where("commit"));
    }
  }
  return hasIntent;
}

/** @returns whether a page of the announced transaction is there */
async function checkPages(
  check: Check,
  plan: WriterPlan,
  area: Area,
  last: number,
  hasIntent: boolean,
): Promise<boolean> {
  const writers = lastWritersOfRuns(plan, last);
  const mayBeNext = new Set(hasIntent ? runsOf(plan, last + 1) : []);
  let isPartlyThere = false;
  const bytes = new Uint8Array(RUN_BYTES);
  for (let run = 0; run < plan.runs; run++) {
    await area.disk.read(area.offsetBytes + run * RUN_BYTES, bytes);
    for (let inRun = 0; inRun < RUN_PAGES; inRun++) {
      const page = run * RUN_PAGES + inRun;
      const content = bytes.subarray(inRun * PAGE_BYTES, (inRun + 1) * PAGE_BYTES);
      check.pages++;
      if (mayBeNext.has(run) && isRecord(plan, content, "page", page, last + 1)) isPartlyThere = true;
      else check.record(plan, content, "page", page, writers[run] ?? 0, `page ${page} of the shared disk`);
    }
  }
  return isPartlyThere;
}

class Check {
  pages = 0;
  #count = 0;
  readonly #named: string[] = [];

  fail(violation: string): void {
    this.#count++;
    if (this.#named.length < MAX_NAMED) this.#named.push(violation);
  }

  /** Compares a page with what a transaction must have left there; says what stands there instead. */
  record(
    plan: WriterPlan,
    bytes: Uint8Array,
    kind: RecordKind,
    place: number,
    expected: number,
    where: string,
  ): void {
    if (isRecord(plan, bytes, kind, place, expected)) return;
    const must = expected === 0 ? "must be empty" : `must be of transaction ${expected}`;
    this.fail(`${where} ${must}, but ${describe(plan, bytes, kind, place, expected)}`);
  }

  result(lastTransaction: number, inFlight: number | null): WriterCheck {
    return {
      consistent: this.#count === 0,
      lastTransaction,
      inFlight,
      checkedPages: this.pages,
      violationCount: this.#count,
      violations: this.#named,
    };
  }
}

function describe(
  plan: WriterPlan,
  bytes: Uint8Array,
  kind: RecordKind,
  place: number,
  expected: number,
): string {
  if (bytes.every((byte) => byte === 0)) return "is empty: a write is lost";
  const stamp = stampOf(bytes, kind);
  if (stamp === undefined || !equals(bytes, recordOf(plan, kind, place, stamp))) return "is torn or damaged";
  return stamp < expected
    ? `is of transaction ${stamp}: it is stale`
    : `is of transaction ${stamp}: it is of a later instant than the commit records`;
}

function isRecord(
  plan: WriterPlan,
  bytes: Uint8Array,
  kind: RecordKind,
  place: number,
  transaction: number,
): boolean {
  return transaction === 0
    ? bytes.every((byte) => byte === 0)
    : equals(bytes, recordOf(plan, kind, place, transaction));
}

function equals(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

async function* entriesOf(
  plan: WriterPlan,
  { disk, offsetBytes }: Area,
): AsyncGenerator<{ readonly entry: number; readonly bytes: Uint8Array }> {
  const atOnce = 64;
  const buffer = new Uint8Array(atOnce * ENTRY_BYTES);
  for (let first = 0; first < plan.journalEntries; first += atOnce) {
    const count = Math.min(atOnce, plan.journalEntries - first);
    await disk.read(offsetBytes + first * ENTRY_BYTES, buffer.subarray(0, count * ENTRY_BYTES));
    for (let index = 0; index < count; index++) {
      yield { entry: first + index, bytes: buffer.subarray(index * ENTRY_BYTES, (index + 1) * ENTRY_BYTES) };
    }
  }
}
