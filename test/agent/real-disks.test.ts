import { createHash } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { repositoryAccess } from "../../lib/agent/repository-access.ts";
import { mapToExposed, staticDiskFiles } from "../../lib/agent/static-disk.ts";
import { DiskId, operationIdOf, type OperationResult, type RunId } from "../../lib/contracts/index.ts";
import {
  createRepository,
  directoryStore,
  exportWriterKey,
  type Repository,
} from "../../lib/repository/index.ts";
import {
  byteFileOf,
  createDifferencing,
  createVhdxStream,
  openVhdx,
  openVhdxForWrite,
} from "../../lib/vhdx/index.ts";
import { CLUSTER, MEMBERS, newRunId, operate, POINT_INPUT, startProcess, temporaryFolder } from "./bench.ts";
import { fakeHost, newHostState, type FakeDisk, type HostState } from "./fake-host.ts";

const MIB = 1024 * 1024;
const SIZE = 24 * MIB;
const DISK = DiskId.parse("bbbbbbbb-0000-4000-8000-000000000001");

/** Bytes that do not compress and depend on the seed alone. */
function noise(seed: number, lengthBytes: number): Buffer {
  const parts = [];
  for (let at = 0; at < lengthBytes; at += 32)
    parts.push(createHash("sha256").update(`${seed}/${at}`).digest());
  return Buffer.concat(parts).subarray(0, lengthBytes);
}

/** A shared disk whose static file is a differencing disk, on a volume that a storage snapshot exposes. */
async function estate(folder: string) {
  const exposed = join(folder, "exposed");
  const store = join(folder, "store");
  for (const path of [join(exposed, "sql"), store, join(folder, "restored")])
    await mkdir(path, { recursive: true });
  const expected = Buffer.alloc(SIZE);
  {
    await using base = await open(join(exposed, "sql", "data.avhdx"), "wx+");
    const stream = await createVhdxStream(await byteFileOf(base), {
      sizeBytes: SIZE,
      blockBytes: MIB,
      diskId: DISK,
    });
    const data = noise(1, 5 * MIB);
    await stream.write(MIB + 4096, data);
    data.copy(expected, MIB + 4096);
    await stream.finish();
  }
  {
    await using base = await open(join(exposed, "sql", "data.avhdx"), "r");
    await using leaf = await open(join(exposed, "sql", "data_2.avhdx"), "wx+");
    const parent = await openVhdx(await byteFileOf(base));
    const file = await byteFileOf(leaf);
    await createDifferencing(file, { image: parent, relativePath: "data.avhdx" }, { blockBytes: MIB });
    const disk = await openVhdxForWrite(file, { parent });
    const change = noise(2, 100_000 - (100_000 % 512));
    await disk.write(3 * MIB, change);
    change.copy(expected, 3 * MIB);
    await disk.close();
  }
  const disk: FakeDisk = {
    ...{ diskId: DISK, path: "/csv/sql/data.vhds", staticPath: "/csv/sql/data_2.avhdx", shared: true },
    ...{ attachedTo: MEMBERS, sizeBytes: SIZE },
  };
  const state = newHostState(MEMBERS, [disk]);
  const repository = await createRepository(directoryStore(store), { passphrase: "correct horse" });
  await writeFile(join(folder, "writer.key"), exportWriterKey(repository));
  await writeFile(join(folder, "passphrase"), "correct horse\n");
  return { state, exposed, store, expected, repository };
}

function processOver(folder: string, state: HostState, exposed: string) {
  const plain = fakeHost(state);
  const host = {
    ...plain,
    createStorageSnapshot: async (request: Parameters<typeof plain.createStorageSnapshot>[0]) => {
      const snapshot = await plain.createStorageSnapshot(request);
      return { ...snapshot, volumes: [{ directory: "/csv", exposedAs: exposed }] };
    },
  };
  return startProcess({
    ...{ folder, host, staticDisks: staticDiskFiles, restoreRoots: [join(folder, "restored")] },
    repository: repositoryAccess({
      openStore: (url) => directoryStore(url.replace("directory:", "")),
      writerKeyFile: join(folder, "writer.key"),
      passphraseFile: join(folder, "passphrase"),
    }),
  });
}

/** Ships the disk in full and commits the manifest, as the control plane would. */
async function backUpAndCommit(
  agent: ReturnType<typeof processOver>,
  store: string,
  repository: Repository,
): Promise<{ readonly runId: RunId; readonly manifest: string; readonly shipped: OperationResult<"ship"> }> {
  const { engine } = agent;
  const runId = newRunId();
  const point = await operate(engine, runId, "consistency-point", POINT_INPUT);
  const references = await operate(engine, runId, "update-references", {});
  const changes = await operate(engine, runId, "change-ranges", { previous: [], requested: "incremental" });
  const shipped = await operate(engine, runId, "ship", {
    repository: { url: `directory:${store}` },
    base: [],
  });
  const manifest = await repository.commitManifest({
    ...{ clusterId: CLUSTER, runId, createdAt: "2026-11-23T03:15:00.000Z", predecessor: null },
    ...{ consistency: point.consistency, members: point.members, storageSnapshots: point.storageSnapshots },
    disks: point.disks.map((disk, index) => ({
      ...disk,
      mapRoot: shipped.disks[index]!.mapRoot,
      referencePoint: references.disks[index]!.referencePoint,
      changeSource: changes.disks[index]!.source,
      sizes: shipped.disks[index]!.sizes,
    })),
    writtenBy: "test",
  });
  return { runId, manifest, shipped };
}

async function contentOf(path: string): Promise<Buffer> {
  await using handle = await open(path, "r");
  const image = await openVhdx(await byteFileOf(handle));
  const content = Buffer.alloc(image.sizeBytes);
  await image.read(0, content);
  return content;
}

test("a differencing chain is shipped from the exposed folder and restored byte for byte, with its disk id", async () => {
  await using folder = await temporaryFolder();
  const { state, exposed, store, expected, repository } = await estate(folder.path);
  await using agent = processOver(folder.path, state, exposed);
  const { manifest } = await backUpAndCommit(agent, store, repository);

  const targetDirectory = join(folder.path, "restored", "point-1");
  const input = { repository: { url: `directory:${store}` }, manifest, targetDirectory };
  const { disks } = await operate(agent.engine, newRunId(), "restore", input);
  const path = join(targetDirectory, "data.vhdx");
  expect(disks).toMatchObject([{ diskId: DISK, path, identical: true, virtualSizeBytes: SIZE }]);
  expect((await contentOf(path)).equals(expected)).toBe(true);
  expect(await readdir(targetDirectory)).toEqual(["data.vhdx"]);

  const again = operate(agent.engine, newRunId(), "restore", input);
  await expect(again).rejects.toMatchObject({ code: "RESTORE_TARGET_EXISTS" });
  expect((await contentOf(path)).equals(expected)).toBe(true);
});

test("a restore after a restart needs its URL again, and then proves what it finds in place of refusing it", async () => {
  await using folder = await temporaryFolder();
  const { state, exposed, store, repository } = await estate(folder.path);
  const targetDirectory = join(folder.path, "restored", "cut");
  const runId = newRunId();
  let manifest: string;
  {
    await using agent = processOver(folder.path, state, exposed);
    ({ manifest } = await backUpAndCommit(agent, store, repository));
    await operate(agent.engine, runId, "restore", {
      repository: { url: `directory:${store}` },
      manifest,
      targetDirectory,
    });
    // As if the process had been killed after the last file got its name and before the journal was told.
    const row = agent.journal.operation(operationIdOf(runId, "restore"))!;
    agent.journal.beginOperation(row);
  }
  await writeFile(join(targetDirectory, "data.vhdx.partial"), "half");
  await using agent = processOver(folder.path, state, exposed);
  agent.engine.resume();
  const id = operationIdOf(runId, "restore");
  const waiting = await agent.engine.wait(id, 20, new AbortController().signal);
  expect(waiting.state).toBe("running");
  const { disks } = await operate(agent.engine, runId, "restore", {
    ...{ repository: { url: `directory:${store}` }, manifest, targetDirectory },
  });
  expect(disks).toMatchObject([{ identical: true, writtenBytes: 0 }]);
});

test("any flipped byte of a pack or map ends the restore with an error, and no file gets a name", async () => {
  await using folder = await temporaryFolder();
  const { state, exposed, store, repository } = await estate(folder.path);
  await using agent = processOver(folder.path, state, exposed);
  const { manifest } = await backUpAndCommit(agent, store, repository);
  const names = (await readdir(store, { recursive: true })).filter((name) =>
    /^(?:packs|maps)\/..\//.test(name),
  );
  expect(names.length).toBeGreaterThanOrEqual(2);
  for (const name of names) {
    const path = join(store, name);
    const good = await readFile(path);
    const bad = Buffer.from(good);
    const middle = Math.floor(bad.length / 2);
    bad[middle] = bad[middle]! ^ 1;
    await writeFile(`${path}.new`, bad);
    await rename(`${path}.new`, path);
    const targetDirectory = join(folder.path, "restored", name.replaceAll("/", "-"));
    const input = { repository: { url: `directory:${store}` }, manifest, targetDirectory };
    await expect(operate(agent.engine, newRunId(), "restore", input), name).rejects.toMatchObject({
      code: expect.stringMatching(/^REPOSITORY_/) as string,
    });
    expect(await readdir(targetDirectory)).toEqual([]);
    await writeFile(path, good);
  }
});

test("a disk whose file in the storage snapshot is another disk's is refused", async () => {
  await using folder = await temporaryFolder();
  const { state, exposed } = await estate(folder.path);
  const other = DiskId.parse("bbbbbbbb-0000-4000-8000-00000000000f");
  const wrong = newHostState(MEMBERS, [{ ...state.disks[0]!, diskId: other }]);
  await using agent = processOver(folder.path, wrong, exposed);
  const attempt = operate(agent.engine, newRunId(), "consistency-point", POINT_INPUT);
  await expect(attempt).rejects.toMatchObject({ code: "STATIC_DISK_INVALID" });
  expect(wrong).toMatchObject({ checkpoints: [], storageSnapshots: [] });
});

test("a storage snapshot that the storage gave up is named as lost, whether all of it or one file is gone", async () => {
  await using folder = await temporaryFolder();
  const { exposed } = await estate(folder.path);
  const lost = { code: "STORAGE_SNAPSHOT_LOST", retry: "later" };
  const open = (exposedAs: string, path: string) =>
    staticDiskFiles.open(path, [{ directory: "/csv", exposedAs }]);
  await expect(open(`${exposed}-gone`, "/csv/sql/data_2.avhdx")).rejects.toMatchObject(lost);
  await expect(open(exposed, "/csv/sql/data_3.avhdx")).rejects.toMatchObject(lost);
});

test("a link inside the storage snapshot is not followed, neither for a folder nor for a file", async () => {
  await using folder = await temporaryFolder();
  const { exposed } = await estate(folder.path);
  const outside = join(folder.path, "outside");
  await mkdir(outside);
  await rename(join(exposed, "sql", "data.avhdx"), join(outside, "data.avhdx"));
  await symlink(join(outside, "data.avhdx"), join(exposed, "sql", "data.avhdx"));
  const volumes = [{ directory: "/csv", exposedAs: exposed }];
  await expect(staticDiskFiles.open("/csv/sql/data_2.avhdx", volumes)).rejects.toMatchObject({
    code: "VHDX_PARENT_MISSING",
  });
  await symlink(outside, join(exposed, "link"));
  await expect(staticDiskFiles.open("/csv/link/data.avhdx", volumes)).rejects.toMatchObject({
    code: "STATIC_DISK_INVALID",
  });
});

test.each([
  ["/csv/sql/a.avhdx", "/csv", "/x", { folder: "/x/sql", name: "a.avhdx" }],
  ["/csv/a.avhdx", "/csv/", "/x", { folder: "/x", name: "a.avhdx" }],
  [
    "C:\\ClusterStorage\\V1\\sql\\a.avhdx",
    "c:\\clusterstorage\\v1",
    "/x",
    { folder: "/x/sql", name: "a.avhdx" },
  ],
])("%s below %s is found in the storage snapshot", (path, directory, exposedAs, expected) => {
  expect(mapToExposed(path, [{ directory, exposedAs }])).toMatchObject(expected);
});

test("of nested volumes the innermost holds the path", () => {
  const volumes = [
    { directory: "/csv", exposedAs: "/x" },
    { directory: "/csv/v2", exposedAs: "/y" },
  ];
  expect(mapToExposed("/csv/v2/a.avhdx", volumes).folder).toBe("/y");
});

test.each(["/csv/../etc/passwd", "/other/a.avhdx", "/csvx/a.avhdx", "sql/a.avhdx", "/csv/./a.avhdx"])(
  "%s lies in no volume of the storage snapshot",
  (path) => {
    const map = () => mapToExposed(path, [{ directory: "/csv", exposedAs: "/x" }]);
    expect(map).toThrow(expect.objectContaining({ code: "STATIC_DISK_INVALID" }));
  },
);
