import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createDifferencing,
  createVhdx,
  createVhdxStream,
  memoryFile,
  mergeIntoParent,
  openChain,
  openVhdx,
  openVhdxForWrite,
  type ByteFile,
  type VhdxImage,
} from "../../lib/vhdx/index.ts";
import { applyChange, copyOf, CutJournal, halfOf } from "./cut-file.ts";
import { contentOf, firstDifference, MIB } from "./disk-lab.ts";

const SECTOR = 512;
/** More runs than a quick check needs, on request. */
const RUNS = 10 * Number(process.env["GCB_TEST_RUNS"] ?? 1);

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      at: fc.double({ min: 0, max: 0.999, noNaN: true }),
      sectors: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1_000, max: 3_000 })),
      fill: fc.integer({ min: 0, max: 255 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("zeros" as const),
      at: fc.double({ min: 0, max: 0.999, noNaN: true }),
      sectors: fc.integer({ min: 1, max: 5_000 }),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: "flush" as const }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("grow" as const), sectors: fc.integer({ min: 1, max: 900 }) }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** The disk as the guest left it at a moment, and how many changes of the file had been made by then. */
interface Moment {
  readonly content: Uint8Array;
  readonly begun: number;
  /** Changes made when the flush was acknowledged; missing when the moment is not a flush. */
  readonly acknowledged?: number;
}

async function run(
  steps: readonly Step[],
  file: ByteFile,
  parent: VhdxImage | undefined,
  overwrite: "in-place" | "relocate",
  start: Uint8Array,
): Promise<{ journal: CutJournal; moments: Moment[] }> {
  const journal = new CutJournal();
  const disk = await openVhdxForWrite(journal.watch("disk", file), {
    overwrite,
    ...(parent === undefined ? {} : { parent }),
  });
  let model = start;
  const moments: Moment[] = [{ content: model, begun: 0, acknowledged: 0 }];
  for (const each of [...steps, { kind: "close" as const }]) {
    const begun = journal.changes.length;
    if (each.kind === "write" || each.kind === "zeros") {
      const at = Math.floor((each.at * model.length) / SECTOR) * SECTOR;
      const length = Math.min(each.sectors * SECTOR, model.length - at);
      model = Uint8Array.from(model).fill(each.kind === "write" ? each.fill : 0, at, at + length);
      if (each.kind === "write") await disk.write(at, new Uint8Array(length).fill(each.fill));
      else await disk.writeZeros({ offsetBytes: at, lengthBytes: length });
      moments.push({ content: model, begun });
      continue;
    }
    if (each.kind === "grow") {
      // Growing first flushes what was written, then takes effect as one step of its own.
      await disk.flush();
      moments.push({ content: model, begun, acknowledged: journal.changes.length });
      const grown = new Uint8Array(model.length + each.sectors * SECTOR);
      grown.set(model);
      model = grown;
      await disk.grow(model.length);
      moments.push({ content: model, begun: begun, acknowledged: journal.changes.length });
    } else {
      await (each.kind === "flush" ? disk.flush() : disk.close());
      moments.push({ content: model, begun, acknowledged: journal.changes.length });
    }
  }
  return { journal, moments };
}

/** What a guest may find after a cut behind `changes` whole changes of the file. */
function candidates(moments: readonly Moment[], changes: number): readonly Moment[] {
  const last = moments.findLastIndex(
    (each) => each.acknowledged !== undefined && each.acknowledged <= changes,
  );
  return moments.slice(last).filter((each) => each.begun <= changes);
}

function isOneOf(content: Uint8Array, among: readonly Moment[]): boolean {
  return among.some((each) => firstDifference(content, each.content) === -1);
}

/** Whether every sector is as at one of the moments. */
function isMixOf(content: Uint8Array, among: readonly Moment[]): boolean {
  for (let at = 0; at < content.length; at += SECTOR) {
    const sector = content.subarray(at, at + SECTOR);
    if (!among.some((each) => Buffer.compare(sector, each.content.subarray(at, at + SECTOR)) === 0))
      return false;
  }
  return true;
}

interface Setup {
  readonly overwrite: "in-place" | "relocate";
  readonly hasParent: boolean;
}

async function disksFor(setup: Setup) {
  const sizeBytes = 3 * MIB + 3 * SECTOR;
  const base = memoryFile();
  await createVhdx(base, { kind: "dynamic", sizeBytes, blockBytes: MIB });
  if (!setup.hasParent)
    return { file: base, parent: undefined, parentFile: base, content: new Uint8Array(sizeBytes) };
  const writer = await openVhdxForWrite(base);
  await writer.write(MIB / 2, new Uint8Array(MIB).fill(0xbb));
  await writer.close();
  const parent = await openVhdx(base);
  const file = memoryFile();
  await createDifferencing(file, { image: parent, relativePath: "base.vhdx" }, { blockBytes: MIB });
  return { file, parent, parentFile: base, content: await contentOf(parent) };
}

describe.each([
  { overwrite: "relocate", hasParent: false },
  { overwrite: "relocate", hasParent: true },
  { overwrite: "in-place", hasParent: false },
  { overwrite: "in-place", hasParent: true },
] as const)(
  "a writer ($overwrite, with a parent: $hasParent) that is cut after any change of its file",
  (setup) => {
    const promise =
      setup.overwrite === "relocate"
        ? "leaves the disk exactly as at the last acknowledged flush, or at the one under way"
        : "leaves every sector as at the last acknowledged flush or as written since";
    test(promise, { timeout: 600_000 }, async () => {
      let cuts = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 14 }), async (steps) => {
          const { file, parent, content } = await disksFor(setup);
          const replica = await copyOf(file);
          const { journal, moments } = await run(steps, file, parent, setup.overwrite, content);
          const options = parent === undefined ? {} : { parent };
          const verify = async (remainder: ByteFile, changes: number): Promise<void> => {
            const found = await contentOf(await openVhdx(remainder, options));
            const among = candidates(moments, changes).filter((each) => each.content.length === found.length);
            // Only flushes count where the writer promises that nothing between them shows.
            const flushes = among.filter((each) => each.acknowledged !== undefined);
            if (setup.overwrite === "relocate") expect(isOneOf(found, flushes)).toBe(true);
            else expect(isOneOf(found, flushes) || isMixOf(found, among)).toBe(true);
            cuts++;
          };
          for (const [index, change] of journal.changes.entries()) {
            const half = halfOf(change);
            if (half !== undefined) {
              await applyChange(replica, half);
              await verify(replica, index);
            }
            await applyChange(replica, change);
            await verify(replica, index + 1);
            if (index % 11 === 0) {
              // Opening for writing replays into the file; the guest finds the same.
              const reopened = await copyOf(replica);
              const before = await contentOf(await openVhdx(reopened, options));
              const disk = await openVhdxForWrite(reopened, options);
              expect(firstDifference(await contentOf(disk), before)).toBe(-1);
              await disk.close();
            }
          }
        }),
        { numRuns: RUNS },
      );
      expect(cuts).toBeGreaterThan(100);
    });
  },
);

describe.each([
  { overwrite: "relocate", hasParent: false },
  { overwrite: "relocate", hasParent: true },
] as const)("a writer ($overwrite, with a parent: $hasParent) whose machine loses power", (setup) => {
  test("finds the disk as at a flush, whichever of the writes since the file's last flush were lost", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 2, maxLength: 10 }),
        fc.infiniteStream(fc.boolean()),
        async (steps, isKept) => {
          const { file, parent, content } = await disksFor(setup);
          const stable = await copyOf(file);
          const { journal, moments } = await run(steps, file, parent, setup.overwrite, content);
          let settled = 0;
          for (const [index, change] of journal.changes.entries()) {
            while (journal.changes[settled]!.flushes < change.flushes) {
              await applyChange(stable, journal.changes[settled]!);
              settled++;
            }
            const found = await copyOf(stable);
            for (const each of journal.changes.slice(settled, index + 1)) {
              if (isKept.next().value) await applyChange(found, each);
            }
            const disk = await openVhdx(found, parent === undefined ? {} : { parent });
            const flushes = candidates(moments, index + 1).filter((each) => each.acknowledged !== undefined);
            expect(isOneOf(await contentOf(disk), flushes)).toBe(true);
          }
        },
      ),
      { numRuns: RUNS / 2 },
    );
  });
});

test("a log that goes round its ring many times can be cut anywhere", async () => {
  const { file, content } = await disksFor({ overwrite: "relocate", hasParent: false });
  const replica = await copyOf(file);
  const steps = Array.from({ length: 160 }, (_, index): Step[] => [
    { kind: "write", at: 0.4, sectors: 1, fill: index + 1 },
    { kind: "flush" },
  ]).flat();
  const { journal, moments } = await run(steps, file, undefined, "relocate", content);
  const logBytes = journal.changes
    .filter((each) => each.kind === "write" && each.offsetBytes >= MIB && each.offsetBytes < 2 * MIB)
    .reduce((sum, each) => sum + (each.kind === "write" ? each.data.length : 0), 0);
  expect(logBytes).toBeGreaterThan(MIB); // it did go round
  for (const [index, change] of journal.changes.entries()) {
    await applyChange(replica, change);
    const found = await contentOf(await openVhdx(replica));
    const flushes = candidates(moments, index + 1).filter((each) => each.acknowledged !== undefined);
    expect(isOneOf(found, flushes)).toBe(true);
  }
});

test("a replay into the file that is itself cut can be begun again at any change", async () => {
  const { file, content } = await disksFor({ overwrite: "relocate", hasParent: false });
  const disk = await openVhdxForWrite(file);
  const model = Uint8Array.from(content).fill(7, 0, 2 * MIB);
  await disk.write(0, model.subarray(0, 2 * MIB));
  await disk.flush();
  const dirty = await copyOf(file);
  const journal = new CutJournal();
  await openVhdxForWrite(journal.watch("disk", file));
  expect(journal.changes.length).toBeGreaterThan(3);
  for (const change of journal.changes) {
    await applyChange(dirty, change);
    expect(firstDifference(await contentOf(await openVhdx(dirty)), model)).toBe(-1);
  }
});

test.each(["dynamic", "fixed"] as const)(
  "a %s disk that is cut while it is made is no VHDX file, or whole",
  async (kind) => {
    const journal = new CutJournal();
    await createVhdx(journal.watch("disk", memoryFile()), { kind, sizeBytes: 5 * MIB, blockBytes: MIB });
    const remainder = memoryFile();
    let opened = 0;
    for (const change of journal.changes) {
      await applyChange(remainder, change);
      const image = await openVhdx(remainder).catch((error: unknown) => error);
      if (image instanceof Error && "code" in image) {
        expect(["VHDX_NOT_VHDX", "VHDX_FILE_TOO_SHORT", "VHDX_HEADERS_INVALID"]).toContain(image.code);
      } else opened++;
    }
    expect(opened).toBe(2); // after the first header and after the second
  },
);

test("a streamed disk that is cut before it is finished is no VHDX file", async () => {
  const journal = new CutJournal();
  const stream = await createVhdxStream(journal.watch("disk", memoryFile()), {
    sizeBytes: 5 * MIB,
    blockBytes: MIB,
  });
  await stream.write(0, new Uint8Array(3 * MIB).fill(1));
  const beforeFinish = journal.changes.length;
  await stream.finish();
  const remainder = memoryFile();
  for (const [index, change] of journal.changes.entries()) {
    await applyChange(remainder, change);
    if (index >= beforeFinish) continue;
    const refusal: unknown = await openVhdx(remainder).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(Error);
  }
  const content = await contentOf(await openVhdx(remainder));
  expect(firstDifference(content.subarray(0, 3 * MIB), new Uint8Array(3 * MIB).fill(1))).toBe(-1);
});

test("a merge that is cut after any change leaves a chain with the same content, and can be begun again", async () => {
  const { file: child, parent, parentFile } = await disksFor({ overwrite: "in-place", hasParent: true });
  const disk = await openVhdxForWrite(child, parent === undefined ? {} : { parent });
  await disk.write(5 * SECTOR, new Uint8Array(3 * SECTOR).fill(1));
  await disk.write(MIB + SECTOR, new Uint8Array(MIB).fill(2));
  await disk.writeZeros({ offsetBytes: 0, lengthBytes: SECTOR });
  await disk.grow(disk.sizeBytes + MIB);
  const content = await contentOf(disk);
  await disk.close();
  const journal = new CutJournal();
  const replicas = new Map([
    ["child.avhdx", await copyOf(child)],
    ["base.vhdx", await copyOf(parentFile)],
  ]);
  await mergeIntoParent(journal.watch("child.avhdx", child), journal.watch("base.vhdx", parentFile));
  expect(firstDifference(await contentOf(await openVhdx(parentFile)), content)).toBe(-1);
  const openReplica = (name: string) => Promise.resolve(replicas.get(name) ?? memoryFile());
  for (const [index, change] of journal.changes.entries()) {
    await applyChange(replicas.get(change.file) ?? memoryFile(), change);
    const chain = await openChain(openReplica, "child.avhdx");
    expect(firstDifference(await contentOf(chain), content)).toBe(-1);
    if (index % 10 === 0) {
      const again = await copyOf(replicas.get("base.vhdx") ?? memoryFile());
      await mergeIntoParent(await copyOf(replicas.get("child.avhdx") ?? memoryFile()), again);
      expect(firstDifference(await contentOf(await openVhdx(again)), content)).toBe(-1);
    }
  }
});
