import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { contentOf, DiskLab, firstDifference, MIB, nonZeroOutsideAllocated } from "./disk-lab.ts";

/** What can happen to a disk, with places as parts of its size so that shrinking keeps them meaningful. */
const operation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      at: fc.double({ min: 0, max: 0.999, noNaN: true }),
      length: fc.oneof(fc.integer({ min: 1, max: 9_000 }), fc.integer({ min: MIB / 2, max: 2 * MIB })),
      fill: fc.integer({ min: 0, max: 255 }),
      isAligned: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("zeros" as const),
      at: fc.double({ min: 0, max: 0.999, noNaN: true }),
      length: fc.oneof(fc.integer({ min: 1, max: 9_000 }), fc.integer({ min: MIB / 2, max: 3 * MIB })),
      isAligned: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "flush" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("checkpoint" as const), blockMib: fc.constantFrom(1, 2, 4) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("merge" as const), depth: fc.integer({ min: 0, max: 3 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("grow" as const), sectors: fc.integer({ min: 1, max: 900 }) }),
  },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

const MAX_CHAIN = 5;
/** More runs than a quick check needs, on request. */
const RUNS = 40 * Number(process.env["GCB_TEST_RUNS"] ?? 1);

/** A plain copy of what the guest wrote, carried along with the real disk. */
class ModelledDisk {
  readonly lab: DiskLab;
  model: Uint8Array;
  readonly #sectorBytes: number;

  constructor(lab: DiskLab, sizeBytes: number, sectorBytes: number) {
    this.lab = lab;
    this.model = new Uint8Array(sizeBytes);
    this.#sectorBytes = sectorBytes;
  }

  async apply(step: Operation): Promise<void> {
    switch (step.kind) {
      case "write": {
        const [start, end] = this.#range(step);
        const data = new Uint8Array(end - start).fill(step.fill);
        this.model.set(data, start);
        await this.lab.leaf.write(start, data);
        return;
      }
      case "zeros": {
        const [start, end] = this.#range(step);
        this.model.fill(0, start, end);
        await this.lab.leaf.writeZeros({ offsetBytes: start, lengthBytes: end - start });
        return;
      }
      case "flush":
        return this.lab.leaf.flush();
      case "reopen":
        await this.lab.leaf.close();
        return this.lab.reopen();
      case "checkpoint":
        if (this.lab.files.size === MAX_CHAIN) return;
        return this.lab.checkpoint(step.blockMib * MIB);
      case "merge":
        await this.lab.merge(step.depth);
        return;
      case "grow": {
        const grown = new Uint8Array(this.model.length + step.sectors * this.#sectorBytes);
        grown.set(this.model);
        this.model = grown;
        return this.lab.leaf.grow(grown.length);
      }
    }
  }

  #range(step: { readonly at: number; readonly length: number; readonly isAligned: boolean }) {
    const unit = step.isAligned ? this.#sectorBytes : 1;
    const start = Math.floor((step.at * this.model.length) / unit) * unit;
    const end = Math.min(this.model.length, start + Math.ceil(step.length / unit) * unit);
    return [start, end] as const;
  }
}

describe.each([
  { kind: "dynamic", blockMib: 1, sectorBytes: 512, overwrite: "in-place" },
  { kind: "dynamic", blockMib: 2, sectorBytes: 4096, overwrite: "in-place" },
  { kind: "dynamic", blockMib: 1, sectorBytes: 512, overwrite: "relocate" },
  { kind: "fixed", blockMib: 1, sectorBytes: 512, overwrite: "in-place" },
] as const)("a chain of $kind, $blockMib MiB blocks, $sectorBytes sectors, $overwrite", (setup) => {
  test("shows what a plain copy of all writes shows, whatever the sequence", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 25 }), async (steps) => {
        const sizeBytes = 3 * MIB + 5 * setup.sectorBytes;
        const lab = await DiskLab.create(
          {
            kind: setup.kind,
            sizeBytes,
            blockBytes: setup.blockMib * MIB,
            logicalSectorBytes: setup.sectorBytes,
          },
          { overwrite: setup.overwrite },
        );
        const disk = new ModelledDisk(lab, sizeBytes, setup.sectorBytes);
        for (const step of steps) await disk.apply(step);
        expect(firstDifference(await contentOf(lab.leaf), disk.model)).toBe(-1);
        expect(await nonZeroOutsideAllocated(lab.leaf, disk.model)).toBe(0);
        await lab.leaf.close();
        const chain = await lab.openChain();
        expect(firstDifference(await contentOf(chain), disk.model)).toBe(-1);
      }),
      { numRuns: RUNS },
    );
  });
});
