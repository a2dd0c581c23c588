import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { crc32c } from "../../lib/vhdx/crc32c.ts";
import { checkVhdx, openVhdx, openVhdxForWrite, readVhdxInfo } from "../../lib/vhdx/index.ts";
import { collectingInspector } from "../../lib/vhdx/defects.ts";
import { readStructure } from "../../lib/vhdx/structure.ts";
import { contentOf, MIB } from "./disk-lab.ts";
import { AT, bytesOf, Forgery, forgedEntry, LOG_GUID, type ForgedEntry } from "./forge.ts";

const BAT = BigInt(AT.bat);

/** A page of BAT that places block 0 at `mib` and nothing else. */
function batPage(mib: number): Uint8Array {
  const page = new Uint8Array(4_096);
  new DataView(page.buffer).setBigUint64(0, (BigInt(mib) << 20n) | 6n, true);
  return page;
}

/** What block 0 of the disk begins with: 1 at 4 MiB, 2 at 5 MiB, 0 when it is absent. */
async function firstByte(file: Forgery): Promise<unknown> {
  try {
    const byte = new Uint8Array(1);
    await (await openVhdx(file.file())).read(0, byte);
    return byte[0];
  } catch (error) {
    return error instanceof Error && "code" in error ? error.code : error;
  }
}

function entry(sequence: bigint, tail: number, mib: number, more: Partial<ForgedEntry> = {}): Uint8Array {
  return forgedEntry({ sequence, tail, pages: [{ offset: BAT, bytes: batPage(mib) }], ...more });
}

async function dirty(): Promise<Forgery> {
  return (await Forgery.dynamic()).bat(0, 0n).bat(2, 0n).dirty();
}

describe("replay of a dirty log", () => {
  test("shows what one entry writes", async () => {
    expect(await firstByte((await dirty()).log(0, entry(1n, 0, 4)))).toBe(1);
  });

  test("goes from the tail's entry to the head, in order", async () => {
    const file = (await dirty()).log(0, entry(7n, 0, 4)).log(8_192, entry(8n, 0, 5));
    expect(await firstByte(file)).toBe(2);
    expect(await readVhdxInfo(file.file())).toMatchObject({ log: { state: "dirty", entries: 2 } });
  });

  test("leaves out entries older than the head's tail", async () => {
    const older = forgedEntry({ sequence: 7n, tail: 0, zeros: [{ offset: BAT, length: 1_048_576n }] });
    const file = (await dirty()).bat(0, (4n << 20n) | 6n);
    file.log(0, older).log(4_096, forgedEntry({ sequence: 8n, tail: 4_096 }));
    expect(await firstByte(file)).toBe(1);
  });

  test("takes the sequence with the greatest number, wherever it stands", async () => {
    const file = (await dirty()).log(0, entry(20n, 0, 5)).log(65_536, entry(10n, 65_536, 4));
    expect(await firstByte(file)).toBe(2);
  });

  test("follows a sequence over the end of the ring, and an entry that itself wraps", async () => {
    const file = (await dirty())
      .log(MIB - 12_288, entry(3n, MIB - 12_288, 4))
      .log(MIB - 4_096, entry(4n, MIB - 12_288, 5));
    expect(await firstByte(file)).toBe(2);
    expect(await readVhdxInfo(file.file())).toMatchObject({ log: { entries: 2 } });
  });

  test("ends before a torn entry", async () => {
    const torn = entry(2n, 0, 5);
    const file = (await dirty()).log(0, entry(1n, 0, 4)).log(8_192, torn);
    file.bytes.fill(0x55, AT.log + 8_192 + 5_000, AT.log + 8_192 + 5_100);
    expect(await firstByte(file)).toBe(1);
  });

  test("does not look at entries of another LogGuid, at a gap in the numbers, or at a head whose tail is gone", async () => {
    const other = "99999999-1111-2222-3333-444444444444";
    const file = (await dirty())
      .log(0, entry(1n, 0, 4))
      .log(8_192, entry(2n, 0, 5, { guid: other }))
      .log(65_536, entry(9n, 32_768, 5));
    expect(await firstByte(file)).toBe(1);
    // Number 3 begins a chain of its own, which its tail is not part of.
    expect(await firstByte((await dirty()).log(0, entry(1n, 0, 4)).log(8_192, entry(3n, 0, 5)))).toBe(1);
  });

  test("zeroes ranges, and later entries win over earlier ones", async () => {
    const zeros = { offset: BAT, length: 4_096n };
    const wiped = (await dirty())
      .log(0, entry(1n, 0, 4))
      .log(8_192, forgedEntry({ sequence: 2n, tail: 0, zeros: [zeros] }));
    expect(await firstByte(wiped)).toBe(0);
    const kept = (await dirty())
      .log(0, forgedEntry({ sequence: 1n, tail: 0, zeros: [zeros] }))
      .log(4_096, entry(2n, 0, 4));
    expect(await firstByte(kept)).toBe(1);
  });

  test("makes the file as long as the head says, with zeros", async () => {
    const page = batPage(9);
    const file = (await dirty()).log(
      0,
      forgedEntry({ sequence: 1n, tail: 0, last: 10n << 20n, pages: [{ offset: BAT, bytes: page }] }),
    );
    expect(await firstByte(file)).toBe(0); // block 0 lies behind the former end
    const raw = file.file();
    await (await openVhdxForWrite(raw)).close();
    expect(raw.sizeBytes).toBe(10 * MIB);
  });

  test("never changes the file that it reads", async () => {
    const raw = (await dirty()).log(0, entry(1n, 0, 4)).file();
    const before = await bytesOf(raw);
    await contentOf(await openVhdx(raw));
    expect(Buffer.compare(await bytesOf(raw), before)).toBe(0);
  });

  test("reads entries of more descriptors than one sector holds", async () => {
    const zeros = Array.from({ length: 300 }, (_, index) => ({
      offset: BAT + 4_096n * BigInt(index % 200) + 4_096n,
      length: 4_096n,
    }));
    const file = (await dirty()).log(
      0,
      forgedEntry({ sequence: 1n, tail: 0, zeros, pages: [{ offset: BAT, bytes: batPage(4) }] }),
    );
    expect(await firstByte(file)).toBe(1);
  });

  test("of any set of updates shows what writing them one after another shows", async () => {
    const update = fc.record({
      page: fc.nat({ max: 5 }),
      count: fc.nat({ max: 3 }),
      mib: fc.constantFrom(4, 5),
      isZero: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(update, { maxLength: 4 }), { minLength: 1, maxLength: 8 }),
        async (entries) => {
          const file = await dirty();
          const expected = file.bytes.slice(AT.bat, AT.bat + 40_960);
          let at = 0;
          entries.forEach((updates, index) => {
            const zeros = updates
              .filter((each) => each.isZero)
              .map((each) => ({
                offset: BAT + BigInt(4_096 * each.page),
                length: BigInt(4_096 * each.count),
              }));
            const pages = updates
              .filter((each) => !each.isZero)
              .map((each) => ({
                offset: BAT + BigInt(4_096 * each.page),
                bytes: batPage(each.mib).fill(each.mib, 8),
              }));
            // Within an entry the forger puts zeros first.
            for (const zero of zeros)
              expected.fill(
                0,
                Number(zero.offset) - AT.bat,
                Number(zero.offset) - AT.bat + Number(zero.length),
              );
            for (const page of pages) expected.set(page.bytes, Number(page.offset) - AT.bat);
            const bytes = forgedEntry({ sequence: BigInt(index + 1), tail: 0, zeros, pages });
            file.log(at, bytes);
            at += bytes.length;
          });
          const { reader } = await readStructure(file.file(), collectingInspector([]));
          const found = new Uint8Array(expected.length);
          await reader.read(AT.bat, found);
          expect(Buffer.compare(found, expected)).toBe(0);
          const part = new Uint8Array(5_000);
          await reader.read(AT.bat + 1_234, part);
          expect(Buffer.compare(part, expected.subarray(1_234, 6_234))).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });
});

type Bend = (entry: DataView, bytes: Uint8Array) => void;
const set64 =
  (at: number, value: bigint): Bend =>
  (view) =>
    view.setBigUint64(at, value, true);
const set32 =
  (at: number, value: number): Bend =>
  (view) =>
    view.setUint32(at, value, true);

/** The first descriptor begins at 64; of a zero descriptor +8 is the length, +16 the offset, +24 the number. */
const REFUSED: readonly (readonly [code: string, rule: string, kind: "page" | "zero", bend: Bend])[] = [
  [
    "VHDX_LOG_ENTRY_INVALID",
    "sequence number zero",
    "zero",
    (view) => {
      view.setBigUint64(16, 0n, true);
      view.setBigUint64(88, 0n, true);
    },
  ],
  ["VHDX_LOG_ENTRY_INVALID", "reserved bytes of the header", "zero", set32(28, 1)],
  ["VHDX_LOG_ENTRY_INVALID", "a tail that is no sector", "zero", set32(12, 100)],
  ["VHDX_LOG_ENTRY_INVALID", "a tail behind the ring", "zero", set32(12, MIB)],
  ["VHDX_LOG_ENTRY_INVALID", "more descriptors than fit", "zero", set32(24, 5_000)],
  ["VHDX_LOG_TOO_COMPLEX", "four billion descriptors", "zero", set32(24, 0xffff_ffff)],
  [
    "VHDX_LOG_ENTRY_INVALID",
    "a length that the descriptors do not explain",
    "page",
    (_, bytes) => bytes.set([0x7a, 0x65, 0x72, 0x6f, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0], 64),
  ],
  ["VHDX_LOG_FILE_SIZE_INVALID", "a flushed size that is no MiB", "zero", set64(48, 4_096n)],
  ["VHDX_LOG_FILE_SIZE_INVALID", "a last size of 2^60", "zero", set64(56, 2n ** 60n)],
  ["VHDX_LOG_FILE_TRUNCATED", "a flushed size behind the file's end", "zero", set64(48, 7n << 20n)],
  ["VHDX_LOG_DESCRIPTOR_INVALID", "a descriptor without signature", "zero", set32(64, 0)],
  ["VHDX_LOG_DESCRIPTOR_INVALID", "a descriptor of another entry", "page", set64(88, 77n)],
  ["VHDX_LOG_DESCRIPTOR_INVALID", "reserved bytes of a zero descriptor", "zero", set32(68, 1)],
  ["VHDX_LOG_DATA_SECTOR_INVALID", "a data sector of another entry", "page", set32(4_100, 9)],
  ["VHDX_LOG_DATA_SECTOR_INVALID", "a data sector that ends as another's", "page", set32(8_188, 9)],
  ["VHDX_LOG_DATA_SECTOR_INVALID", "a data sector without signature", "page", set32(4_096, 0)],
  ["VHDX_LOG_ZERO_LENGTH_INVALID", "zeros of 2^62 bytes", "zero", set64(72, 2n ** 62n)],
  ["VHDX_LOG_ZERO_LENGTH_INVALID", "zeros that pass the file's end", "zero", set64(72, 4n << 20n)],
  ["VHDX_LOG_ZERO_LENGTH_INVALID", "zeros of half a sector", "zero", set64(72, 512n)],
  ["VHDX_LOG_TARGET_UNALIGNED", "a page at no multiple of 4 KiB", "page", set64(80, BAT + 512n)],
  ["VHDX_LOG_TARGET_IN_HEADERS", "a page over a header", "page", set64(80, 65_536n)],
  ["VHDX_LOG_TARGET_IN_HEADERS", "zeros over the headers", "zero", set64(80, 0n)],
  ["VHDX_LOG_TARGET_IN_LOG", "a page over the log", "page", set64(80, BigInt(AT.log) + 4_096n)],
  [
    "VHDX_LOG_TARGET_IN_LOG",
    "zeros that reach into the log",
    "zero",
    (view) => {
      view.setBigUint64(80, 196_608n, true);
      view.setBigUint64(72, 1_048_576n, true);
    },
  ],
  ["VHDX_LOG_TARGET_BEYOND_LIMIT", "a page at 2^50", "page", set64(80, 2n ** 50n)],
];

describe("a dirty log whose newest entry is", () => {
  test.each(REFUSED)("refused as %s: %s", async (code, _rule, kind, bend) => {
    const bytes =
      kind === "page"
        ? entry(2n, 0, 4)
        : forgedEntry({ sequence: 2n, tail: 0, zeros: [{ offset: BAT, length: 4_096n }] });
    bend(new DataView(bytes.buffer), bytes);
    const alone = (await dirty()).log(0, bytes.slice());
    expect(await firstByte(alone)).toBe(code);
    expect((await checkVhdx(alone.file())).map((each) => each.code)).toContain(code);
  });

  test("refused although an older sequence would be whole: an acknowledged change is never dropped in silence", async () => {
    const bad = entry(2n, 0, 5);
    new DataView(bad.buffer).setBigUint64(80, 65_536n, true);
    expect(await firstByte((await dirty()).log(0, entry(1n, 0, 4)).log(8_192, bad))).toBe(
      "VHDX_LOG_TARGET_IN_HEADERS",
    );
  });

  test("not there at all is refused as VHDX_LOG_SEQUENCE_MISSING", async () => {
    expect(await firstByte(await dirty())).toBe("VHDX_LOG_SEQUENCE_MISSING");
    const torn = (await dirty()).log(0, entry(1n, 0, 4), false);
    expect(await firstByte(torn)).toBe("VHDX_LOG_SEQUENCE_MISSING");
  });

  test("defective and older than the active sequence is not looked at", async () => {
    const old = entry(3n, 0, 5);
    new DataView(old.buffer).setBigUint64(80, 65_536n, true);
    expect(await firstByte((await dirty()).log(65_536, old).log(0, entry(9n, 0, 4)))).toBe(1);
  });
});

test("a ring full of entries that claim the whole ring is given up, not read without end", async () => {
  const file = await dirty();
  for (let at = 0; at < MIB; at += 4_096) {
    const sector = new Uint8Array(4_096);
    const view = new DataView(sector.buffer);
    sector.set(forgedEntry({ sequence: 1n, tail: 0, guid: LOG_GUID }).subarray(0, 64));
    view.setUint32(8, MIB, true);
    file.log(at, sector, false);
  }
  expect(await firstByte(file)).toBe("VHDX_LOG_TOO_COMPLEX");
});

describe("crc32c", () => {
  test.each([
    ["", 0],
    ["123456789", 0xe306_9283],
    ["\0".repeat(32), 0x8a91_36aa],
  ])("of %j is as published (RFC 3720 B.4)", (text, expected) => {
    expect(crc32c(new TextEncoder().encode(text))).toBe(expected);
  });

  test("of parts one after another is that of the whole", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.uint8Array({ maxLength: 100 }), (one, other) => {
        expect(crc32c(other, crc32c(one))).toBe(crc32c(Uint8Array.from([...one, ...other])));
      }),
    );
  });
});
