import { existsSync, readFileSync } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { byteFileOf, createDifferencing, createVhdx, memoryFile, openVhdx } from "../../lib/vhdx/index.ts";
import { FolderFiles } from "../../lib/simulated-host/disks/folder-files.ts";
import { checkWriterDisks, createEstate } from "../../lib/simulated-host/index.ts";
import { MIB, openPoint, SMALL, startLab, takePoint, temporaryFolder } from "./lab.ts";

const WINDOWS = resolve(import.meta.dirname, "../../../shared/data/vhdx/windows");
const hasWindows = existsSync(WINDOWS);
const WHOLE = ["dissect-dynamic", "discutils-log-replay", "discutils-btrfs", "discutils-xfs5"];

async function unpacked(name: string): Promise<string> {
  const path = join(await temporaryFolder(), name);
  await writeFile(path, gunzipSync(readFileSync(join(WINDOWS, `${name}.gz`))));
  return path;
}

describe.skipIf(!hasWindows)("a disk image made by Windows (needs ../shared/data/vhdx/windows)", () => {
  test.each(WHOLE)(
    "%s becomes the shared disk: its content stays, the writers' area follows",
    async (name) => {
      const path = await unpacked(`${name}.vhdx`);
      const lab = await startLab({ sharedDisk: { kind: "image", path } });
      await lab.writeOn(5);
      const point = await takePoint(lab, "run-1");
      await lab.host.convertToReferencePoint(point.checkpoint.snapshotCollectionId);
      const disks = await openPoint(point);
      expect(await checkWriterDisks(disks, { consistency: "application" })).toMatchObject({ violations: [] });

      await using files = new FolderFiles(join(path, ".."));
      const original = await openVhdx(await files.open(`${name}.vhdx`, "r"));
      const shared = disks[0]!;
      expect(shared.sizeBytes).toBeGreaterThan(original.sizeBytes);
      expect(shared.diskId).toBe(original.diskId);
      expect(shared.blockBytes).toBe(original.blockBytes);
      const [one, other] = [Buffer.alloc(MIB), Buffer.alloc(MIB)];
      for await (const { offsetBytes, lengthBytes } of original.allocatedRanges()) {
        for (let done = 0; done < lengthBytes; done += MIB) {
          const length = Math.min(MIB, lengthBytes - done);
          await original.read(offsetBytes + done, one.subarray(0, length));
          await shared.read(offsetBytes + done, other.subarray(0, length));
          expect(one.equals(other)).toBe(true);
        }
      }
    },
  );

  test("a checkpoint's differencing disk without its parent is refused, and nothing is left", async () => {
    const folder = join(await temporaryFolder(), "estate");
    const path = await unpacked("dissect-differencing.avhdx");
    const sharedDisk = { kind: "image", path } as const;
    await expect(createEstate({ ...SMALL, folder, sharedDisk })).rejects.toMatchObject({
      code: "VHDX_PARENT_REQUIRED",
    });
    expect(await readdir(folder)).toEqual([]);
  });
});

describe("an image that cannot be a shared disk", () => {
  test("a file that is no VHDX, or that is not there, is refused, and nothing is left", async () => {
    const base = await temporaryFolder();
    const folder = join(base, "estate");
    await writeFile(join(base, "text.vhdx"), "x".repeat(2 * MIB));
    for (const [file, code] of [
      ["text.vhdx", "VHDX_NOT_VHDX"],
      ["absent.vhdx", "SIMULATED_ESTATE_INVALID"],
    ] as const) {
      const sharedDisk = { kind: "image", path: join(base, file) } as const;
      await expect(createEstate({ ...SMALL, folder, sharedDisk })).rejects.toMatchObject({ code });
      expect(await readdir(folder)).toEqual([]);
    }
  });

  test("a differencing disk is refused", async () => {
    const base = await temporaryFolder();
    const parent = memoryFile();
    await createVhdx(parent, { kind: "dynamic", sizeBytes: 4 * MIB });
    const { open } = await import("node:fs/promises");
    {
      await using handle = await open(join(base, "child.avhdx"), "wx+");
      const image = await openVhdx(parent);
      await createDifferencing(await byteFileOf(handle), { image, relativePath: "parent.vhdx" });
    }
    const sharedDisk = { kind: "image", path: join(base, "child.avhdx") } as const;
    await expect(createEstate({ ...SMALL, folder: join(base, "estate"), sharedDisk })).rejects.toMatchObject({
      code: "VHDX_PARENT_REQUIRED",
    });
  });
});

describe("a new estate", () => {
  test("of a folder with files in it is refused, and the files stay", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "mine"), "");
    await expect(createEstate({ ...SMALL, folder })).rejects.toMatchObject({
      code: "SIMULATED_ESTATE_EXISTS",
    });
    expect(await readdir(folder)).toEqual(["mine"]);
  });

  test("of the same seed has the same ids", async () => {
    const base = await temporaryFolder();
    const make = (name: string, seed: number) =>
      createEstate({ ...SMALL, seed, vms: 2, folder: join(base, name) }).then(({ members }) => members);
    const [one, same, other] = [await make("a", 1), await make("b", 1), await make("c", 2)];
    expect(same).toEqual(one);
    expect(other).not.toEqual(one);
  });

  test("holds files of this machine in the stated shares", async () => {
    const folder = join(await temporaryFolder(), "estate");
    const { filledWith } = await createEstate({
      ...SMALL,
      folder,
      sharedDisk: { kind: "files", megabytes: 12 },
    });
    const { plainBytes, packedBytes } = filledWith!;
    expect(plainBytes + packedBytes).toBeGreaterThan(10 * MIB);
    expect(packedBytes / (plainBytes + packedBytes)).toBeGreaterThan(0.2);
    expect(packedBytes / (plainBytes + packedBytes)).toBeLessThan(0.4);
  });

  test("of one and of sixteen members works, with one storage snapshot for all disks", async () => {
    for (const vms of [1, 16]) {
      const lab = await startLab({ vms });
      await lab.writeOn(vms);
      const point = await takePoint(lab, "run-1");
      expect(point.checkpoint.disks).toHaveLength(vms + 1);
      const check = await checkWriterDisks(await openPoint(point), { consistency: "application" });
      expect(check.violations).toEqual([]);
      expect((await lab.status()).counters.storageSnapshots).toBe(1);
      await lab.stop();
    }
  });
});
