import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { memoryFile, openChain, openVhdx, type VirtualDisk } from "../../lib/vhdx/index.ts";
import { SHARED_IMAGES, unpack } from "./shared-images.ts";

/** Guest sha256, or the code of the refusal, as the README of the images has them. */
const EXPECTED: Readonly<Record<string, string>> = {
  "windows/dissect-dynamic.vhdx.gz": "8e2b5e9265d694b42b81819e3bff29770eff4ed0f4f9f311693ff3dbdc93efac",
  "windows/dissect-differencing.avhdx.gz": "VHDX_PARENT_MISSING",
  "windows/discutils-log-replay.vhdx.gz": "3ba3b309425b7ff5e8e0199edceed95226250f880c53b24e8eae93865f3fad5e",
  "windows/discutils-btrfs.vhdx.gz": "0b959f9cb4e18348ad8b646f152178282542c8304f02fddf765e3fd1a1de6864",
  "qemu/qemu-dyn1m.vhdx.xz": "094ac2084234aa94a5362199cc6c5c8c26e6f8503b8f2e6a37eec0663124c472",
  "qemu/qemu-fixed8m.vhdx.xz": "0e625fefcfb67430c4dc2e8722d94485239bbc64a2a3b995d73b87d8bc36dd99",
  "log/log-two-entries.vhdx.xz": "feea312d3e354a9be14d5037b974a7e02d3045083c60c2300bf46af50d0b146e",
  "log/log-truncated-refuse.vhdx.xz": "VHDX_LOG_FILE_TRUNCATED",
  "hostile/bat-block-over-metadata.vhdx.xz": "VHDX_BLOCK_OVERLAPS_STRUCTURE",
  "hostile/bat-garbage-offset-in-zero.vhdx.xz":
    "e0587ba58cd4ce19c8344b6b3aefbdfd35cdd86ed27b8bfd872da507380bda04",
  "hostile/bat-partial-in-nondiff.vhdx.xz": "VHDX_BAT_PARTIAL_WITHOUT_PARENT",
  "hostile/bat-reserved-state-5.vhdx.xz": "VHDX_BAT_STATE_RESERVED",
  "hostile/bat-two-entries-one-block.vhdx.xz": "VHDX_BLOCKS_OVERLAP",
  "hostile/blocksize-512m.vhdx.xz": "VHDX_BLOCK_SIZE_INVALID",
  "hostile/headers-both-bad-crc.vhdx.xz": "VHDX_HEADERS_INVALID",
  "hostile/log-desc-into-header.vhdx.xz": "VHDX_LOG_TARGET_IN_HEADERS",
  "hostile/log-length-beyond-eof.vhdx.xz": "VHDX_LOG_BEYOND_FILE",
  "hostile/log-zero-huge.vhdx.xz": "VHDX_LOG_ZERO_LENGTH_INVALID",
  "hostile/metadata-entry-count-huge.vhdx.xz": "VHDX_METADATA_COUNT_INVALID",
  "hostile/metadata-unknown-optional-user.vhdx.xz":
    "e0587ba58cd4ce19c8344b6b3aefbdfd35cdd86ed27b8bfd872da507380bda04",
  "hostile/ok-base.vhdx.xz": "e0587ba58cd4ce19c8344b6b3aefbdfd35cdd86ed27b8bfd872da507380bda04",
  "hostile/partial-no-bitmap.avhdx.xz": "VHDX_BITMAP_MISSING",
  "hostile/region-table1-bad-crc.vhdx.xz": "e0587ba58cd4ce19c8344b6b3aefbdfd35cdd86ed27b8bfd872da507380bda04",
  "hostile/region-unknown-required.vhdx.xz": "VHDX_REGION_UNKNOWN_REQUIRED",
  "hostile/version-2.vhdx.xz": "VHDX_VERSION_UNSUPPORTED",
  "hostile/vsize-unaligned.vhdx.xz": "VHDX_DISK_SIZE_UNALIGNED",
};

async function digestOf(disk: VirtualDisk): Promise<string> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(1_048_576);
  for (let at = 0; at < disk.sizeBytes; at += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, disk.sizeBytes - at));
    await disk.read(at, part);
    hash.update(part);
  }
  return hash.digest("hex");
}

async function outcomeOf(path: string): Promise<unknown> {
  try {
    const leaf =
      path
        .split("/")
        .at(-1)
        ?.replace(/\.[gx]z$/, "") ?? "";
    const disk = await openChain((name) => {
      if (name === leaf) return Promise.resolve(memoryFile(unpack(path)));
      throw new Error(`no ${name}`);
    }, leaf);
    return await digestOf(disk);
  } catch (error) {
    return error instanceof Error && "code" in error ? error.code : error;
  }
}

describe.skipIf(!existsSync(SHARED_IMAGES))(
  `the images of other makers (${SHARED_IMAGES}; skipped when absent)`,
  () => {
    test.each(Object.entries(EXPECTED))("%s gives %s", async (path, expected) => {
      expect(await outcomeOf(path)).toBe(expected);
    });

    test.each([
      ["base.vhdx", "3018ec971fd971411832c452df0aad6247b041fd937cbcc404a966eb0231419d"],
      [
        "base_6D1A5C0E-1B77-4E0B-9B1C-0C7B5C1F2A01.avhdx",
        "917a8138648cf6252fcc7bb8b159ced6d9191c9da9856409de5e8fe8269c5a75",
      ],
      [
        "base_9F3E2B44-52A0-4B7E-8C55-7A1D0E9C3B02.avhdx",
        "7fe0b2a26699ebd46efe2284b1dc4fcc55b02faa1aefa5c253965f28f4cf93a5",
      ],
    ])("the chain seen from %s gives %s", async (leaf, expected) => {
      const disk = await openChain(
        (name) => Promise.resolve(memoryFile(unpack(`chains/512/${name}.xz`))),
        leaf,
      );
      expect(await digestOf(disk)).toBe(expected);
    });

    test("the sectors that a Hyper-V checkpoint holds itself are read without its parent", async () => {
      const image = await openVhdx(memoryFile(unpack("windows/dissect-differencing.avhdx.gz")));
      const hash = createHash("sha256");
      let sectors = 0;
      for await (const { offsetBytes, lengthBytes } of image.ownRanges()) {
        const data = new Uint8Array(lengthBytes);
        await image.read(offsetBytes, data);
        hash.update(data);
        sectors += lengthBytes / 512;
      }
      expect(sectors).toBe(6_200);
      expect(hash.digest("hex")).toBe("5bb6800ac0903f0897a2fb4cd304a9d033856d8ba12cbc8f7bf555fe29bfcbb7");
    });
  },
);
