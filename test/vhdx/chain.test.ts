import { describe, expect, test } from "vitest";
import { parentBaseName } from "../../lib/vhdx/chain.ts";
import {
  createDifferencing,
  createVhdx,
  memoryFile,
  mergeIntoParent,
  openChain,
  openVhdx,
  openVhdxForWrite,
  setParent,
  type ByteFile,
} from "../../lib/vhdx/index.ts";
import { contentOf, DiskLab, firstDifference, MIB, rangesOf } from "./disk-lab.ts";
import { Forgery } from "./forge.ts";

async function disk(sizeBytes = 4 * MIB, logicalSectorBytes: 512 | 4096 = 512): Promise<ByteFile> {
  const file = memoryFile();
  await createVhdx(file, { kind: "dynamic", sizeBytes, blockBytes: MIB, logicalSectorBytes });
  return file;
}

async function childOf(parent: ByteFile, relativePath: string): Promise<ByteFile> {
  const file = memoryFile();
  await createDifferencing(file, { image: await openVhdx(parent), relativePath }, { blockBytes: MIB });
  return file;
}

function folder(files: Readonly<Record<string, ByteFile>>) {
  return (name: string) =>
    files[name] === undefined ? Promise.reject(new Error(`no ${name}`)) : Promise.resolve(files[name]);
}

async function codeOf(work: Promise<unknown>): Promise<unknown> {
  const error: unknown = await work.catch((each: unknown) => each);
  return error instanceof Error && "code" in error ? error.code : error;
}

describe("a chain is refused", () => {
  test("when a parent is not in the folder, by its name", async () => {
    const child = await childOf(await disk(), "gone.vhdx");
    const opening = openChain(folder({ "child.avhdx": child }), "child.avhdx");
    await expect(opening).rejects.toThrow(/gone\.vhdx/);
    expect(await codeOf(opening)).toBe("VHDX_PARENT_MISSING");
  });

  test("when the parent was changed after the child was made", async () => {
    const base = await disk();
    const child = await childOf(base, "base.vhdx");
    const writer = await openVhdxForWrite(base);
    await writer.write(0, new Uint8Array(512).fill(1));
    await writer.close();
    expect(await codeOf(openChain(folder({ "child.avhdx": child, "base.vhdx": base }), "child.avhdx"))).toBe(
      "VHDX_PARENT_LINKAGE_MISMATCH",
    );
  });

  test("when a file names itself, under whatever case of letters", async () => {
    const child = await childOf(await disk(), "CHILD.avhdx");
    const open = (name: string) =>
      Promise.resolve(name.toLowerCase() === "child.avhdx" ? child : memoryFile());
    expect(await codeOf(openChain(open, "child.avhdx"))).toBe("VHDX_CHAIN_CYCLE");
  });

  test("when it comes back under another name", async () => {
    const child = await childOf(await disk(), "copy.avhdx");
    const files = { "child.avhdx": child, "copy.avhdx": child };
    expect(await codeOf(openChain(folder(files), "child.avhdx"))).toBe("VHDX_CHAIN_CYCLE");
  });

  test("when it has more files than are followed", async () => {
    const files: Record<string, ByteFile> = { "0.vhdx": await disk() };
    for (let index = 1; index <= 256; index++) {
      files[`${index}.vhdx`] = await childOf(files[`${index - 1}.vhdx`]!, `${index - 1}.vhdx`);
    }
    expect(await codeOf(openChain(folder(files), "256.vhdx"))).toBe("VHDX_CHAIN_TOO_LONG");
  });

  test("when parent and child have different sectors", async () => {
    const base = await disk(4 * MIB, 4096);
    const child = await Forgery.differencing();
    const guid = (await openVhdx(base)).dataWriteGuid;
    const text = new TextEncoder().encode(`{${guid}}`);
    // The linkage is the first value: behind the header, three entries and the key "parent_linkage".
    const at = 2 * MIB + 65_576 + 20 + 3 * 12 + 28;
    text.forEach((byte, index) => (child.bytes[at + 2 * index] = byte));
    const files = { "child.avhdx": child.file(), "parent.vhdx": base };
    expect(await codeOf(openChain(folder(files), "child.avhdx"))).toBe("VHDX_PARENT_SECTOR_SIZE_MISMATCH");
  });
});

describe("a parent's path", () => {
  test.each([
    [".\\base.vhdx", true, "base.vhdx"],
    ["base.vhdx", true, "base.vhdx"],
    ["./base.vhdx", true, "base.vhdx"],
    ["C:\\Users\\Public\\base.vhdx", false, "base.vhdx"],
    ["\\\\?\\C:\\disks\\base.vhdx", false, "base.vhdx"],
    ["\\\\?\\Volume{0eba351e-5634-46d6-a8cf-4ddc2d6ac0b9}\\disks\\base.vhdx", false, "base.vhdx"],
  ])("%j (relative: %s) is the file %s of the child's folder", (path, isRelative, name) => {
    expect(parentBaseName(path, isRelative, "child")).toBe(name);
  });

  test.each([
    ["..\\base.vhdx", true],
    ["..\\..\\etc\\passwd", true],
    [".\\sub\\base.vhdx", true],
    ["\\base.vhdx", true],
    ["/etc/passwd", true],
    ["C:\\base.vhdx", true],
    ["base.vhdx:stream", true],
    ["..", true],
    [".", true],
    ["", true],
    ["a\u0000b", true],
    ["\\\\server\\share\\base.vhdx", false],
    ["\\\\?\\UNC\\server\\share\\base.vhdx", false],
    ["\\\\.\\PhysicalDrive0", false],
    ["C:\\disks\\..\\base.vhdx", false],
    ["C:\\disks\\", false],
  ])("%j (relative: %s) is refused as VHDX_PARENT_OUTSIDE_FOLDER", (path, isRelative) => {
    expect(() => parentBaseName(path, isRelative, "child")).toThrow(
      expect.objectContaining({ code: "VHDX_PARENT_OUTSIDE_FOLDER" }),
    );
  });

  test("of another folder is taken by its base name when the caller has gathered the files in one", () => {
    const options = { foreignFolders: "ignore" } as const;
    expect(parentBaseName("..\\Virtual Hard Disks\\base.vhdx", true, "child", options)).toBe("base.vhdx");
    expect(() => parentBaseName("..\\..", true, "child", options)).toThrow(/not a file/);
  });
});

test("a share in the absolute path does not hide that the parent is missing beside the child", async () => {
  const base = await disk();
  const child = memoryFile();
  const absolutePath = "\\\\?\\UNC\\server\\share\\base.vhdx";
  await createDifferencing(child, { image: await openVhdx(base), relativePath: "base.vhdx", absolutePath });
  expect(await codeOf(openChain(folder({ "child.avhdx": child }), "child.avhdx"))).toBe(
    "VHDX_PARENT_MISSING",
  );
  expect(
    (await openChain(folder({ "child.avhdx": child, "base.vhdx": base }), "child.avhdx")).files,
  ).toHaveLength(2);
});

test("more metadata than a new file has room for makes no child", async () => {
  const parent = (await Forgery.dynamic())
    .addItem("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", 65_576, MIB - 65_576, 3)
    .file();
  expect(await codeOf(childOf(parent, "parent.vhdx"))).toBe("VHDX_METADATA_TOO_LONG");
});

test("a differencing disk opened alone reads what it holds and names what it lacks", async () => {
  const child = (await Forgery.differencing()).file();
  const image = await openVhdx(child);
  const sector = new Uint8Array(4_096);
  await image.read(MIB, sector);
  expect(sector.every((byte) => byte === 3)).toBe(true);
  expect(await codeOf(image.read(0, sector))).toBe("VHDX_PARENT_REQUIRED");
  const own = await rangesOf(image.ownRanges());
  expect(own).toEqual([{ offsetBytes: MIB, lengthBytes: 4_096 }]);
});

test("blocks that a child declares as zeros hide the parent, and count as the child's own", async () => {
  const lab = await DiskLab.create({ kind: "dynamic", sizeBytes: 4 * MIB, blockBytes: MIB });
  await lab.leaf.write(0, new Uint8Array(4 * MIB).fill(9));
  await lab.checkpoint();
  await lab.leaf.writeZeros({ offsetBytes: MIB, lengthBytes: MIB });
  await lab.leaf.close();
  const chain = await lab.openChain();
  expect(await rangesOf(chain.allocatedRanges())).toEqual([
    { offsetBytes: 0, lengthBytes: MIB },
    { offsetBytes: 2 * MIB, lengthBytes: 2 * MIB },
  ]);
  expect(await rangesOf(chain.ownRanges())).toEqual([{ offsetBytes: MIB, lengthBytes: MIB }]);
  expect((await contentOf(chain)).subarray(MIB, 2 * MIB).every((byte) => byte === 0)).toBe(true);
});

test("bits that a bitmap holds from an earlier life of a block are cleared when the block comes back", async () => {
  const forged = await Forgery.differencing();
  forged.bat(1, 0n); // block 1 is the parent's again; its bits are still set
  const parent = await openVhdx((await Forgery.dynamic()).file());
  const file = forged.file();
  // The forged parent has a content of its own, so the child is opened for what it holds alone.
  const writer = await openVhdxForWrite(file);
  await writer.write(MIB + 8_192, new Uint8Array(512).fill(7));
  await writer.close();
  expect(await rangesOf((await openVhdx(file)).ownRanges())).toEqual([
    { offsetBytes: MIB + 8_192, lengthBytes: 512 },
  ]);
  expect(parent.sizeBytes).toBe(8 * MIB);
});

test("zeros written where nothing is stored take no space", async () => {
  const lab = await DiskLab.create({ kind: "dynamic", sizeBytes: 64 * MIB, blockBytes: MIB });
  const before = lab.file(lab.leafName).sizeBytes;
  await lab.leaf.write(0, new Uint8Array(64 * MIB));
  await lab.checkpoint();
  await lab.leaf.write(5 * MIB, new Uint8Array(10 * MIB));
  await lab.leaf.close();
  expect(lab.file("disk-0.vhdx").sizeBytes).toBe(before);
  expect(lab.file(lab.leafName).sizeBytes).toBe(before);
});

test("metadata of the virtual disk goes along to a child, and back when it is merged", async () => {
  const parentFile = (await Forgery.dynamic())
    .addItem("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", 70_000, 8, 3)
    .file();
  const parent = await openVhdx(parentFile);
  const child = await childOf(parentFile, "parent.vhdx");
  const image = await openVhdx(child, { parent });
  expect(image.diskId).toBe(parent.diskId);
  expect(await image.diskItems()).toEqual(await parent.diskItems());
  expect(await image.diskItems()).toHaveLength(1);
  const items = await image.diskItems();
  await mergeIntoParent(child, parentFile);
  expect(await (await openVhdx(parentFile)).diskItems()).toEqual(items);
});

test("a child can be tied to a parent that moved", async () => {
  const base = await disk();
  const child = await childOf(base, "old-name.vhdx");
  await setParent(child, { image: await openVhdx(base), relativePath: "new-name.vhdx" });
  const chain = await openChain(folder({ "child.avhdx": child, "new-name.vhdx": base }), "child.avhdx");
  expect(chain.files).toEqual(["child.avhdx", "new-name.vhdx"]);
  expect(firstDifference(await contentOf(chain), new Uint8Array(4 * MIB))).toBe(-1);
});

test("a disk without parent cannot be given one", async () => {
  const base = await disk();
  expect(
    await codeOf(setParent(await disk(), { image: await openVhdx(base), relativePath: "base.vhdx" })),
  ).toBe("VHDX_LOCATOR_MISSING");
});

test.each([
  [3 * MIB, "smaller"],
  [4 * MIB + 100, "no multiple"],
  [2 ** 46 + 512, "64 TiB"],
])("growing 4 MiB to %i bytes is refused and leaves the disk usable", async (sizeBytes, reason) => {
  const lab = await DiskLab.create({ kind: "dynamic", sizeBytes: 4 * MIB, blockBytes: MIB });
  await expect(lab.leaf.grow(sizeBytes)).rejects.toThrow(reason);
  await lab.leaf.write(0, new Uint8Array(512).fill(1));
  await lab.leaf.close();
});

test("after a failed write the writer refuses all others, and what was flushed is there on the next open", async () => {
  const file = await disk();
  let isBroken = false;
  const fragile: ByteFile = {
    get sizeBytes() {
      return file.sizeBytes;
    },
    read: (offsetBytes, target) => file.read(offsetBytes, target),
    write: (offsetBytes, data) =>
      isBroken ? Promise.reject(new Error("disk full")) : file.write(offsetBytes, data),
    flush: () => file.flush(),
    resize: (sizeBytes) => file.resize(sizeBytes),
  };
  const writer = await openVhdxForWrite(fragile);
  await writer.write(0, new Uint8Array(512).fill(1));
  await writer.flush();
  isBroken = true;
  await expect(writer.write(MIB, new Uint8Array(512).fill(2))).rejects.toThrow("disk full");
  isBroken = false;
  expect(await codeOf(writer.flush())).toBe("VHDX_WRITER_FAILED");
  const content = await contentOf(await openVhdx(file));
  expect([content[0], content[MIB]]).toEqual([1, 0]);
});
