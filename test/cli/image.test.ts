import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UsageError } from "../../lib/cli/command.ts";
import image from "../../lib/cli/commands/image.ts";
import { formatBytes, parseSize } from "../../lib/cli/image/sizes.ts";

let folder = "";
const at = (name: string): string => join(folder, name);
const MIB = 1_048_576;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gcb-image-"));
  const raw = new Uint8Array(5 * MIB + 512);
  raw.fill(1, MIB, MIB + 100_000).fill(2, raw.length - 512);
  await writeFile(at("source.raw"), raw);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function gcb(...args: readonly string[]): Promise<{ code: number; output: string }> {
  const stdout = new PassThrough();
  const collected = text(stdout);
  try {
    const code = await image.run(args, {
      stdout,
      stderr: new PassThrough(),
      env: {},
      signal: new AbortController().signal,
    });
    return { code, output: (stdout.end(), await collected) };
  } finally {
    stdout.end();
  }
}

async function json(...args: readonly string[]): Promise<unknown> {
  return JSON.parse((await gcb(...args, "--json")).output);
}

const sourceDigest = async () => ({
  sha256: createHash("sha256")
    .update(await readFile(at("source.raw")))
    .digest("hex"),
  virtualSizeBytes: 5 * MIB + 512,
});

test.each(["dynamic", "fixed"])(
  "a raw image converted to a %s VHDX and back has the same digest all along",
  async (kind) => {
    const vhdx = at(`${kind}.vhdx`);
    await gcb("convert", at("source.raw"), vhdx, "--kind", kind, "--block-size", "1M");
    expect(await json("digest", vhdx)).toEqual(await sourceDigest());
    expect(await json("info", vhdx)).toMatchObject({ format: "vhdx", kind, blockBytes: MIB });
    expect(await json("check", vhdx)).toEqual({ usable: true, defects: [] });
    await gcb("convert", vhdx, at(`${kind}.raw`));
    expect(Buffer.compare(await readFile(at(`${kind}.raw`)), await readFile(at("source.raw")))).toBe(0);
    await gcb("convert", vhdx, at(`${kind}-copy.vhdx`));
    expect(await json("digest", at(`${kind}-copy.vhdx`))).toEqual(await sourceDigest());
    const [one, other] = await Promise.all([json("info", vhdx), json("info", at(`${kind}-copy.vhdx`))]);
    expect((one as { diskId: string }).diskId).toBe((other as { diskId: string }).diskId);
  },
);

test("map lists what may be other than zero", async () => {
  await gcb("convert", at("source.raw"), at("mapped.vhdx"), "--block-size", "1M");
  expect(await json("map", at("mapped.vhdx"))).toEqual({
    virtualSizeBytes: 5 * MIB + 512,
    ranges: [
      { offsetBytes: MIB, lengthBytes: MIB },
      { offsetBytes: 5 * MIB, lengthBytes: 512 },
    ],
    rangeBytes: MIB + 512,
  });
});

test("a differencing disk shows its parent, holds nothing of its own, and is refused without it", async () => {
  await gcb("convert", at("source.raw"), at("parent.vhdx"), "--block-size", "1M");
  await gcb("create", at("child.avhdx"), "--parent", at("parent.vhdx"));
  expect(await json("digest", at("child.avhdx"))).toEqual(await sourceDigest());
  expect(await json("map", at("child.avhdx"), "--own")).toMatchObject({ ranges: [] });
  await rm(at("parent.vhdx"));
  await expect(gcb("digest", at("child.avhdx"))).rejects.toMatchObject({ code: "VHDX_PARENT_MISSING" });
  const { code, output } = await gcb("check", at("child.avhdx"), "--json");
  expect(code).toBe(1);
  expect(JSON.parse(output)).toMatchObject({ usable: false, defects: [{ code: "VHDX_PARENT_MISSING" }] });
});

test("a parent is found whatever the case of its letters, but not through a symbolic link", async () => {
  await gcb("convert", at("source.raw"), at("Base.VHDX"));
  await gcb("create", at("leaf.avhdx"), "--parent", at("Base.VHDX"));
  const { rename } = await import("node:fs/promises");
  await rename(at("Base.VHDX"), at("base.vhdx"));
  expect(await json("digest", at("leaf.avhdx"))).toEqual(await sourceDigest());
  await rename(at("base.vhdx"), at("elsewhere"));
  await symlink(at("elsewhere"), at("Base.VHDX"));
  await expect(gcb("digest", at("leaf.avhdx"))).rejects.toMatchObject({ code: "VHDX_PARENT_MISSING" });
});

test("a new disk has the sizes that were asked for and reads as zeros", async () => {
  await gcb(
    "create",
    at("new.vhdx"),
    "--size",
    "64M",
    "--kind",
    "fixed",
    "--logical-sector",
    "4096",
    "--block-size",
    "8M",
  );
  expect(await json("info", at("new.vhdx"))).toMatchObject({
    kind: "fixed",
    virtualSizeBytes: 64 * MIB,
    blockBytes: 8 * MIB,
    logicalSectorBytes: 4096,
    blocks: { total: 8, present: 8 },
  });
  expect(await json("digest", at("new.vhdx"))).toMatchObject({
    sha256: createHash("sha256")
      .update(new Uint8Array(64 * MIB))
      .digest("hex"),
  });
});

test("check lists every defect with its section and ends with 1", async () => {
  await gcb("create", at("bad.vhdx"), "--size", "8M", "--block-size", "1M");
  const bytes = await readFile(at("bad.vhdx"));
  bytes[3 * MIB] = 4;
  bytes[3 * MIB + 8] = 6;
  await writeFile(at("bad.vhdx"), bytes);
  const { code, output } = await gcb("check", at("bad.vhdx"));
  expect(code).toBe(1);
  expect(output).toContain("VHDX_BAT_STATE_RESERVED\t§2.5.1.1");
  expect(output).toContain("VHDX_BAT_OFFSET_INVALID\t§2.5.1");
  expect(output).toContain("must not be used");
});

test("an existing file is never overwritten, and a conversion that fails leaves no target", async () => {
  await writeFile(at("precious"), "text");
  await expect(gcb("convert", at("source.raw"), at("precious"))).rejects.toMatchObject({
    code: "INPUT_INVALID",
  });
  expect(await readFile(at("precious"), "utf8")).toBe("text");
  await expect(
    gcb("convert", at("source.raw"), at("never.vhdx"), "--block-size", "3M"),
  ).rejects.toMatchObject({ code: "VHDX_OPTIONS_INVALID" });
  await expect(readFile(at("never.vhdx"))).rejects.toMatchObject({ code: "ENOENT" });
});

test.each([
  [["nothing"]],
  [["digest"]],
  [["create", "x"]],
  [["convert", "x"]],
  [["create", "x", "--size", "many"]],
])("%j is a usage error", async (args) => {
  const running = (async () => gcb(...args))();
  await expect(running).rejects.toBeInstanceOf(UsageError);
});

test.each([
  ["4096", 4_096],
  ["64M", 64 * MIB],
  ["1.5k", 1_536],
  ["2TiB", 2 ** 41],
  ["-1", undefined],
  ["1X", undefined],
  ["0.3", undefined],
])("the size %s is %s bytes", (given, expected) => {
  expect(parseSize(given)).toBe(expected);
});

test("a size is shown with its exact bytes", () => {
  expect([formatBytes(512), formatBytes(3 * 2 ** 30)]).toEqual(["512 bytes", "3.0 GiB (3221225472 bytes)"]);
});
