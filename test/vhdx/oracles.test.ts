import { execFileSync, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  byteFileOf,
  createDifferencing,
  createVhdx,
  createVhdxStream,
  openChain,
  openVhdx,
  openVhdxForWrite,
  type ByteFile,
} from "../../lib/vhdx/index.ts";
import { contentOf, MIB } from "./disk-lab.ts";
import { HAS_LIBVHDI, HAS_QEMU_IMG, libvhdiDigest, qemuCheck, qemuDigest } from "./oracles.ts";
import { SHARED_IMAGES, unpack } from "./shared-images.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vhdx-oracles-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function withFile<T>(name: string, work: (file: ByteFile) => Promise<T>): Promise<T> {
  const handle = await open(join(folder, name), existsSync(join(folder, name)) ? "r+" : "w+");
  try {
    return await work(await byteFileOf(handle));
  } finally {
    await handle.close();
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Data in some blocks, none in others, and places that do not end with a sector of 4 KiB. */
const WRITES = [
  { at: 0, data: randomBytes(70_000) },
  { at: 3 * MIB - 512, data: randomBytes(1_024) },
  { at: 6 * MIB, data: randomBytes(2 * MIB) },
  { at: 20 * MIB - 512, data: randomBytes(512) },
];
const SIZE = 20 * MIB;

function expectedContent(sizeBytes = SIZE): Uint8Array {
  const content = new Uint8Array(sizeBytes);
  for (const { at, data } of WRITES) content.set(data, at);
  return content;
}

describe.skipIf(!HAS_QEMU_IMG)("qemu-img (skipped when qemu-utils is absent)", () => {
  test.each([
    ["dynamic", 1],
    ["dynamic", 32],
    ["fixed", 2],
  ] as const)("reads a %s disk with blocks of %i MiB as it was written", async (kind, blockMib) => {
    const name = `${kind}-${blockMib}.vhdx`;
    await withFile(name, async (file) => {
      await createVhdx(file, { kind, sizeBytes: SIZE, blockBytes: blockMib * MIB });
      const disk = await openVhdxForWrite(file);
      for (const { at, data } of WRITES) await disk.write(at, data);
      await disk.close();
    });
    expect(qemuCheck(join(folder, name))).toBe(0);
    expect(qemuDigest(join(folder, name))).toBe(sha256(expectedContent()));
  });

  test("reads a streamed disk as it was written", async () => {
    await withFile("stream.vhdx", async (file) => {
      const stream = await createVhdxStream(file, { sizeBytes: SIZE, blockBytes: MIB });
      for (const { at, data } of WRITES) await stream.write(at, data);
      await stream.finish();
    });
    expect(qemuCheck(join(folder, "stream.vhdx"))).toBe(0);
    expect(qemuDigest(join(folder, "stream.vhdx"))).toBe(sha256(expectedContent()));
  });

  test("reads a disk that was grown past its BAT region", async () => {
    // 131 072 entries fill 1 MiB of BAT: 128 GiB in blocks of 1 MiB.
    const sizeBytes = 127 * 1_024 * MIB;
    const grownBytes = sizeBytes + 2 * 1_024 * MIB;
    await withFile("grown.vhdx", async (file) => {
      await createVhdx(file, { kind: "dynamic", sizeBytes, blockBytes: MIB });
      const disk = await openVhdxForWrite(file);
      await disk.write(0, WRITES[0]!.data);
      await disk.grow(grownBytes);
      await disk.write(grownBytes - 512, new Uint8Array(512).fill(0x5a));
      await disk.close();
    });
    expect(qemuCheck(join(folder, "grown.vhdx"))).toBe(0);
    const info = execFileSync("qemu-img", ["info", "--output=json", join(folder, "grown.vhdx")], {
      encoding: "utf8",
    });
    expect(JSON.parse(info)).toMatchObject({ "virtual-size": grownBytes });
    const read = spawnSync(
      "qemu-io",
      ["-r", "-f", "vhdx", "-c", `read -P 0x5a ${grownBytes - 512} 512`, join(folder, "grown.vhdx")],
      { encoding: "utf8" },
    );
    expect(read.stdout).toContain("read 512/512 bytes");
    expect(read.stdout).not.toContain("verification failed");
  });

  test.each([
    ["dynamic", "1M"],
    ["dynamic", "256M"],
    ["fixed", "8M"],
  ])("writes %s disks with blocks of %s that are read here as they were written", async (kind, block) => {
    const raw = join(folder, "source.raw");
    const path = join(folder, `from-qemu-${kind}-${block}.vhdx`);
    await writeFile(raw, expectedContent());
    execFileSync(
      "qemu-img",
      ["convert", "-f", "raw", "-O", "vhdx"].concat(`-osubformat=${kind},block_size=${block}`, raw, path),
    );
    await withFile(`from-qemu-${kind}-${block}.vhdx`, async (file) => {
      expect(sha256(await contentOf(await openVhdx(file)))).toBe(sha256(expectedContent()));
    });
  });

  test("replays a log that this writer left behind, and reads what was flushed", async () => {
    await withFile("dirty.vhdx", async (file) => {
      await createVhdx(file, { kind: "dynamic", sizeBytes: SIZE, blockBytes: MIB });
      const disk = await openVhdxForWrite(file);
      for (const { at, data } of WRITES) await disk.write(at, data);
      await disk.flush(); // and no close
    });
    execFileSync("qemu-img", ["check", "-f", "vhdx", "-r", "all", join(folder, "dirty.vhdx")]);
    expect(qemuDigest(join(folder, "dirty.vhdx"))).toBe(sha256(expectedContent()));
  });

  test.skipIf(!existsSync(SHARED_IMAGES))(
    "reads a disk made by Windows after it was grown by 64 MiB and written to",
    async () => {
      const name = "windows.vhdx";
      await writeFile(join(folder, name), unpack("windows/dissect-dynamic.vhdx.gz"));
      const data = randomBytes(100_000);
      const expected = await withFile(name, async (file) => {
        const before = await contentOf(await openVhdx(file));
        const disk = await openVhdxForWrite(file);
        await disk.grow(before.length + 64 * MIB);
        await disk.write(40 * MIB + 512, data);
        await disk.close();
        const content = new Uint8Array(before.length + 64 * MIB);
        content.set(before);
        content.set(data, 40 * MIB + 512);
        return sha256(content);
      });
      expect(qemuCheck(join(folder, name))).toBe(0);
      expect(qemuDigest(join(folder, name))).toBe(expected);
    },
  );
});

describe.skipIf(!HAS_LIBVHDI)("libvhdi (skipped when python3-libvhdi is absent)", () => {
  test.each([512, 4096] as const)("reads a chain of three with sectors of %i bytes", async (sectorBytes) => {
    const names = ["base.vhdx", "middle.avhdx", "leaf.avhdx"].map((name) => `${sectorBytes}-${name}`);
    const content = new Uint8Array(SIZE);
    await using opened = new AsyncDisposableStack();
    const openByName = async (name: string) => byteFileOf(opened.use(await open(join(folder, name))));
    for (const [index, name] of names.entries()) {
      const parentName = names[index - 1];
      await withFile(name, async (file) => {
        if (parentName === undefined) {
          await createVhdx(file, {
            kind: "dynamic",
            sizeBytes: SIZE,
            blockBytes: MIB,
            logicalSectorBytes: sectorBytes,
          });
        } else {
          const image = await openChain(openByName, parentName);
          await createDifferencing(file, {
            image,
            relativePath: parentName,
            absolutePath: `C:\\disks\\${parentName}`,
          });
        }
        const disk = await openVhdxForWrite(
          file,
          parentName === undefined ? {} : { parent: await openChain(openByName, parentName) },
        );
        for (const { at, data } of WRITES) {
          const shifted = at - (at % 4_096) + (index * 8_192 + 4_096);
          if (shifted >= SIZE) continue;
          const part = data.subarray(0, SIZE - shifted);
          await disk.write(shifted, part);
          content.set(part, shifted);
        }
        await disk.close();
      });
    }
    expect(libvhdiDigest(...names.toReversed().map((name) => join(folder, name)))).toBe(sha256(content));
  });
});
