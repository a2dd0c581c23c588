import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { checkWriterDisks, checkWriters } from "../../lib/simulated-host/index.ts";
import { Member } from "../../lib/simulated-host/writers/member.ts";
import {
  ENTRY_BYTES,
  entryOf,
  lastWritersOfRuns,
  memberOf,
  PAGE_BYTES,
  RUN_BYTES,
  runsOf,
  transactionInEntry,
  type WriterPlan,
} from "../../lib/simulated-host/writers/plan.ts";
import { carryOut } from "../../lib/simulated-host/writers/run-writers.ts";
import {
  areaBytes,
  encodeSuperblock,
  SUPERBLOCK_BYTES,
  type Superblock,
} from "../../lib/simulated-host/writers/superblock.ts";

const PLAN: WriterPlan = { seed: 4711, members: 3, runs: 32, runsPerTransaction: 3, journalEntries: 4 };
const AREA = 8192;
const ESTATE = "11111111-2222-4333-8444-555555555555";

class MemoryDisk {
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  get sizeBytes() {
    return this.bytes.length;
  }
  read(offsetBytes: number, target: Uint8Array) {
    target.set(this.bytes.subarray(offsetBytes, offsetBytes + target.length));
    return Promise.resolve();
  }
  write(offsetBytes: number, data: Uint8Array) {
    this.bytes.set(data, offsetBytes);
    return Promise.resolve();
  }
  flush() {
    return Promise.resolve();
  }
  copy() {
    return new MemoryDisk(Buffer.from(this.bytes));
  }
}

interface Disks {
  readonly shared: MemoryDisk;
  readonly privateDisks: readonly MemoryDisk[];
}

function emptyDisks(estateId = ESTATE): Disks {
  const make = (role: Superblock["role"]) => {
    const disk = new MemoryDisk(Buffer.alloc(AREA + areaBytes(role.kind, PLAN) + SUPERBLOCK_BYTES));
    const superblock = encodeSuperblock({
      formatVersion: 1,
      estateId,
      role,
      areaOffsetBytes: AREA,
      plan: PLAN,
    });
    disk.bytes.set(superblock, disk.sizeBytes - SUPERBLOCK_BYTES);
    return disk;
  };
  return {
    shared: make({ kind: "shared" }),
    privateDisks: [0, 1, 2].map((member) => make({ kind: "private", member })),
  };
}

const copyOf = ({ shared, privateDisks }: Disks): Disks => ({
  shared: shared.copy(),
  privateDisks: privateDisks.map((disk) => disk.copy()),
});

/** Stops the writers like a power cut when so many writes were made. */
class Cut extends Error {}

async function write(disks: Disks, from: number, to: number, maxWrites = Infinity): Promise<void> {
  let writes = 0;
  const counted = (disk: MemoryDisk) => ({
    sizeBytes: disk.sizeBytes,
    read: disk.read.bind(disk),
    flush: () => Promise.resolve(),
    write: (offsetBytes: number, data: Uint8Array) => {
      if (writes++ >= maxWrites) throw new Cut();
      return disk.write(offsetBytes, data);
    },
  });
  const members = disks.privateDisks.map(
    (disk, number) => new Member(number, { shared: counted(disks.shared), private: counted(disk) }),
  );
  try {
    for (let transaction = from; transaction <= to; transaction++) {
      const member = members[memberOf(PLAN, transaction)];
      if (member !== undefined) await carryOut(PLAN, transaction, member, AREA, AREA);
    }
  } catch (error) {
    if (!(error instanceof Cut)) throw error;
  }
}

/** The disks after each transaction. */
const history: Disks[] = [];
const LAST = 40;
const at = (transaction: number): Disks => copyOf(history[transaction]!);

beforeAll(async () => {
  const disks = emptyDisks();
  history.push(copyOf(disks));
  for (let transaction = 1; transaction <= LAST; transaction++) {
    await write(disks, transaction, transaction);
    history.push(copyOf(disks));
  }
});

describe("disks of one instant are consistent", () => {
  test("after every transaction", async () => {
    for (let transaction = 0; transaction <= LAST; transaction++) {
      const check = await checkWriters(at(transaction), { consistency: "application" });
      expect(check).toMatchObject({ consistent: true, lastTransaction: transaction, inFlight: null });
    }
  });

  test("after every single write of a transaction, when a crash-consistent point is enough", async () => {
    const writesOfOne = PLAN.runsPerTransaction + 2;
    for (let writes = 1; writes < writesOfOne; writes++) {
      const disks = at(30);
      await write(disks, 31, 31, writes);
      expect(await checkWriters(disks)).toMatchObject({
        consistent: true,
        lastTransaction: 30,
        inFlight: 31,
      });
      expect(await checkWriters(disks, { consistency: "application" })).toMatchObject({ consistent: false });
    }
  });

  test("whatever order the disks are given in, with other disks among them", async () => {
    const { shared, privateDisks } = at(20);
    const stranger = new MemoryDisk(Buffer.alloc(100_000, 7));
    const disks = [...privateDisks.toReversed(), stranger, new MemoryDisk(Buffer.alloc(10)), shared];
    expect(await checkWriterDisks(disks)).toMatchObject({ consistent: true, lastTransaction: 20 });
  });
});

describe("what a reader must find", () => {
  const violationsOf = async (disks: Disks) => {
    const check = await checkWriters(disks);
    expect(check.consistent).toBe(false);
    expect(check.violationCount).toBeGreaterThanOrEqual(check.violations.length);
    return check.violations.join("\n");
  };

  test("a shared disk of an earlier instant than the private ones", async () => {
    const found = await violationsOf({ ...at(40), shared: at(38).shared });
    expect(found).toContain("stale");
  });

  test("a shared disk of a later instant", async () => {
    expect(await violationsOf({ ...at(38), shared: at(40).shared })).toContain("later instant");
  });

  test("a shared disk that is one transaction later: its pages precede their intent", async () => {
    expect(await violationsOf({ ...at(38), shared: at(39).shared })).toContain("later instant");
  });

  test.each([0, 1, 2])("the private disk of member %i of an earlier instant", async (member) => {
    const disks = at(40);
    const privateDisks = disks.privateDisks.map((disk, index) =>
      index === member ? at(30).privateDisks[member]! : disk,
    );
    await violationsOf({ ...disks, privateDisks });
  });

  test.each([0, 1, 2])("the private disk of member %i of a later instant", async (member) => {
    const disks = at(30);
    const privateDisks = disks.privateDisks.map((disk, index) =>
      index === member ? at(40).privateDisks[member]! : disk,
    );
    await violationsOf({ ...disks, privateDisks });
  });

  test("any flipped bit of the area, the journals or a superblock", async () => {
    const sizes = [PLAN.runs * RUN_BYTES, ...[0, 1, 2].map(() => PLAN.journalEntries * ENTRY_BYTES)];
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: 3 }), fc.nat(), fc.nat({ max: 7 }), async (which, place, bit) => {
        const disks = at(LAST);
        const disk = [disks.shared, ...disks.privateDisks][which]!;
        const byte = AREA + (place % sizes[which]!);
        disk.bytes[byte] = disk.bytes[byte]! ^ (1 << bit);
        const check = await checkWriters(disks, { consistency: "application" });
        expect(check.consistent).toBe(false);
      }),
      { numRuns: 40 },
    );
  });

  test("a torn page: half of one transaction, half of an earlier one", async () => {
    const disks = at(40);
    const run = runsOf(PLAN, 40)[0]!;
    const page = AREA + run * RUN_BYTES;
    const older = at(39).shared.bytes.subarray(page + PAGE_BYTES / 2, page + PAGE_BYTES);
    disks.shared.bytes.set(older, page + PAGE_BYTES / 2);
    expect(await violationsOf(disks)).toContain("torn");
  });

  test("one chunk that was rolled back", async () => {
    const disks = at(40);
    const run = runsOf(PLAN, 40)[1]!;
    const chunk = AREA + run * RUN_BYTES;
    disks.shared.bytes.set(at(39).shared.bytes.subarray(chunk, chunk + RUN_BYTES), chunk);
    await violationsOf(disks);
  });

  test("one chunk that was lost", async () => {
    const disks = at(40);
    const chunk = AREA + runsOf(PLAN, 40)[2]! * RUN_BYTES;
    disks.shared.bytes.fill(0, chunk, chunk + RUN_BYTES);
    expect(await violationsOf(disks)).toContain("a write is lost");
  });

  test("two chunks that changed places", async () => {
    const disks = at(40);
    const [one, other] = runsOf(PLAN, 40).map((run) => AREA + run * RUN_BYTES) as [number, number];
    const kept = Buffer.from(disks.shared.bytes.subarray(one, one + RUN_BYTES));
    disks.shared.bytes.copyWithin(one, other, other + RUN_BYTES);
    disks.shared.bytes.set(kept, other);
    await violationsOf(disks);
  });

  test("a commit without its intent", async () => {
    const disks = at(40);
    const entry = AREA + entryOf(PLAN, 40) * ENTRY_BYTES;
    disks.privateDisks[memberOf(PLAN, 40)]!.bytes.fill(0, entry, entry + PAGE_BYTES);
    await violationsOf(disks);
  });

  test("a private disk that is missing", async () => {
    const { shared, privateDisks } = at(40);
    expect(await violationsOf({ shared, privateDisks: privateDisks.slice(0, 2) })).toContain(
      "member 2 is missing",
    );
  });

  test("a private disk that is there twice, and a shared disk that is not there", async () => {
    const { shared, privateDisks } = at(40);
    expect(await violationsOf({ shared, privateDisks: [...privateDisks, privateDisks[0]!] })).toContain(
      "two private",
    );
    expect((await checkWriterDisks(privateDisks)).consistent).toBe(false);
  });

  test("disks of another estate", async () => {
    const other = emptyDisks("99999999-2222-4333-8444-555555555555");
    expect(await violationsOf({ ...at(0), privateDisks: other.privateDisks })).toContain("different estates");
  });
});

describe("the plan", () => {
  test("the journal entry and the last writer of a run are those of a plain model", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 2, max: 5 }),
        fc.integer({ min: 0, max: 60 }),
        fc.nat(),
        (members, journalEntries, last, seed) => {
          const plan: WriterPlan = { seed, members, runs: 12, runsPerTransaction: 2, journalEntries };
          const entries = new Map<string, number>();
          const runs = new Float64Array(plan.runs);
          for (let transaction = 1; transaction <= last; transaction++) {
            entries.set(`${memberOf(plan, transaction)} ${entryOf(plan, transaction)}`, transaction);
            const written = runsOf(plan, transaction);
            expect(new Set(written).size).toBe(plan.runsPerTransaction);
            for (const run of written) runs[run] = transaction;
          }
          for (let member = 0; member < members; member++) {
            for (let entry = 0; entry < journalEntries; entry++) {
              expect(transactionInEntry(plan, member, entry, last)).toBe(
                entries.get(`${member} ${entry}`) ?? 0,
              );
            }
          }
          expect(lastWritersOfRuns(plan, last)).toEqual(runs);
        },
      ),
    );
  });
});
