import { mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHash } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DiskId } from "../../lib/contracts/index.ts";
import {
  restoreDisks,
  type RestorableDisk,
  type RestoreRequest,
  type RestoreSource,
} from "../../lib/restore/index.ts";
import { byteFileOf, openVhdx } from "../../lib/vhdx/index.ts";

const MIB = 1024 * 1024;
const SIZE = 6 * MIB;

/** A disk with one piece of data at an odd place. Its digest is the SHA-256 of everything. */
const content = Buffer.alloc(SIZE);
content.fill("restore", 2 * MIB + 512, 2 * MIB + 70_000);
const disk: RestorableDisk = {
  ...{
    diskId: DiskId.parse("dddddddd-0000-4000-8000-000000000001"),
    label: "data.vhds",
    virtualSizeBytes: SIZE,
  },
  ...{ logicalSectorBytes: 512, physicalSectorBytes: 4096, blockBytes: MIB },
  mapRoot: createHash("sha256").update(content).digest("hex"),
};

const source: RestoreSource = {
  readDisks: () => Promise.resolve([disk]),
  async *readContent() {
    for (let at = 2 * MIB; at < 3 * MIB; at += 65_536) {
      yield await Promise.resolve({ offsetBytes: at, data: content.subarray(at, at + 65_536) });
    }
  },
  async computeMapRoot(image, { onProgress }) {
    const bytes = Buffer.alloc(image.sizeBytes);
    await image.read(0, bytes);
    onProgress(image.sizeBytes);
    return createHash("sha256").update(bytes).digest("hex");
  },
};

let root: string;
let target: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "gcb-restore-"));
  target = join(root, "target");
});
afterEach(() => rm(root, { recursive: true }));

function request(changes: Partial<RestoreRequest> = {}): RestoreRequest {
  return {
    ...{
      source,
      manifest: "m",
      roots: [root],
      targetDirectory: target,
      diskIds: undefined,
      isResumed: false,
    },
    ...{ signal: new AbortController().signal, onProgress: () => undefined, onPlanned: () => undefined },
    ...changes,
  };
}

test("a disk is written, proved and named; its sectors, blocks and id are those of the restore point", async () => {
  const progress: number[] = [];
  const done = await restoreDisks(
    request({ onProgress: ({ doneBytes, totalBytes }) => progress.push(doneBytes / totalBytes) }),
  );
  const path = join(target, "data.vhdx");
  expect(done).toEqual([
    {
      ...{ diskId: disk.diskId, label: "data.vhds", path, virtualSizeBytes: SIZE },
      mapRoot: disk.mapRoot,
      identical: true,
      writtenBytes: MIB,
    },
  ]);
  await using handle = await open(path, "r");
  const image = await openVhdx(await byteFileOf(handle));
  expect(image).toMatchObject({
    diskId: disk.diskId,
    blockBytes: MIB,
    logicalSectorBytes: 512,
    physicalSectorBytes: 4096,
  });
  expect(progress.at(-1)).toBe(1);
  expect(progress).toEqual(progress.toSorted((a, b) => a - b));
});

test("a file that is there is never written over", async () => {
  await mkdir(target);
  await writeFile(join(target, "data.vhdx"), "precious");
  await expect(restoreDisks(request())).rejects.toMatchObject({ code: "RESTORE_TARGET_EXISTS" });
  expect(await readFile(join(target, "data.vhdx"), "utf8")).toBe("precious");
});

test("a file that appears while the disk is being written is not written over either", async () => {
  const slow: RestoreSource = {
    ...source,
    async computeMapRoot(image, options) {
      await writeFile(join(target, "data.vhdx"), "precious");
      return source.computeMapRoot(image, options);
    },
  };
  await expect(restoreDisks(request({ source: slow }))).rejects.toMatchObject({
    code: "RESTORE_TARGET_EXISTS",
  });
  expect(await readFile(join(target, "data.vhdx"), "utf8")).toBe("precious");
  expect(await readdir(target)).toEqual(["data.vhdx"]);
});

test("a disk that is not the restore point's never gets its name", async () => {
  const wrong: RestoreSource = {
    ...source,
    async *readContent() {
      yield await Promise.resolve({ offsetBytes: 0, data: Buffer.from("not this") });
    },
  };
  await expect(restoreDisks(request({ source: wrong }))).rejects.toMatchObject({
    code: "RESTORE_NOT_IDENTICAL",
  });
  expect(await readdir(target)).toEqual([]);
});

test("a resumed restore does not take a file for its own that is another disk", async () => {
  await restoreDisks(request());
  const other = { ...disk, mapRoot: "f".repeat(64) };
  const changed: RestoreSource = { ...source, readDisks: () => Promise.resolve([other]) };
  const attempt = restoreDisks(request({ source: changed, isResumed: true }));
  await expect(attempt).rejects.toMatchObject({ code: "RESTORE_NOT_IDENTICAL" });
  expect(await readdir(target)).toEqual(["data.vhdx"]);
});

test("a restore that is cancelled leaves nothing", async () => {
  const cancel = new AbortController();
  const cut: RestoreSource = {
    ...source,
    async *readContent(...given) {
      for await (const piece of source.readContent(...given)) {
        yield piece;
        cancel.abort();
      }
    },
  };
  await expect(restoreDisks(request({ source: cut, signal: cancel.signal }))).rejects.toMatchObject({
    name: "AbortError",
  });
  expect(await readdir(target)).toEqual([]);
});
