import fc from "fast-check";
import { expect, test } from "vitest";
import { DiskId } from "../../lib/contracts/index.ts";
import { planRestore, type RestorableDisk } from "../../lib/restore/index.ts";

const idOf = (n: number) => DiskId.parse(`cccccccc-0000-4000-8000-${n.toString(16).padStart(12, "0")}`);

function disksOf(...labels: string[]): RestorableDisk[] {
  return labels.map((label, index) => ({
    ...{
      diskId: idOf(index),
      label,
      virtualSizeBytes: 1024,
      blockBytes: 1024 * 1024,
      mapRoot: "0".repeat(64),
    },
    ...{ logicalSectorBytes: 512, physicalSectorBytes: 4096 },
  }));
}
const namesOf = (...labels: string[]) =>
  planRestore(disksOf(...labels), undefined).map(({ fileName }) => fileName);

test.each([
  ["data.vhds", "data.vhdx"],
  ["os.vhdx", "os.vhdx"],
  ["os.AVHDX", "os.vhdx"],
  ["SQL data 1.vhdx", "SQL data 1.vhdx"],
  ["a.b.vhdx", "a.b.vhdx"],
  ["../../etc/passwd", "__.._etc_passwd.vhdx"],
  ["C:\\x.vhdx", "C__x.vhdx"],
  ["con.vhdx", "_con.vhdx"],
  [".vhdx", "_.vhdx"],
  ["", "_.vhdx"],
])("the disk %j is restored as %j", (label, fileName) => {
  expect(namesOf(label)).toEqual([fileName]);
});

test("disks of one name are told apart by their ids, and keep their names when restored alone", () => {
  const disks = disksOf("os.vhdx", "OS.vhdx", "data.vhds");
  const names = planRestore(disks, undefined).map(({ fileName }) => fileName);
  expect(names).toEqual([`os-${idOf(0)}.vhdx`, `OS-${idOf(1)}.vhdx`, "data.vhdx"]);
  expect(planRestore(disks, [idOf(1)]).map(({ fileName }) => fileName)).toEqual([names[1]]);
});

test("a disk that the restore point does not have is refused, naming those it has", () => {
  const attempt = () => planRestore(disksOf("a.vhdx"), [idOf(7)]);
  expect(attempt).toThrow(expect.objectContaining({ code: "RESTORE_DISK_UNKNOWN" }) as Error);
  expect(attempt).toThrow(/a\.vhdx/);
});

test("whatever the labels are, every file has a name of its own, without any separator", () => {
  const label = fc.oneof(
    fc.string({ unit: "binary", maxLength: 20 }),
    fc.constantFrom("a.vhdx", "A.vhds", "..", "nul", "a"),
  );
  fc.assert(
    fc.property(fc.array(label, { minLength: 1, maxLength: 6 }), (labels) => {
      const names = namesOf(...labels);
      expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(labels.length);
      for (const name of names) {
        expect(name).toMatch(/^[^\\/:*?"<>|\p{Cc}]+\.vhdx$/u);
        expect(name).not.toMatch(/^(?:\.|con\.|nul\.)/i);
      }
    }),
  );
});
