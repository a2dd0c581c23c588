import { describe, expect, test } from "vitest";
import type { GuestClusterId, RunId, VmId, DiskId } from "../../lib/contracts/index.ts";
import {
  BackupSession,
  createRepository,
  exportControlPlaneKey,
  exportWriterKey,
  memoryStore,
  openRepository,
  parseKey,
  readDisk,
  type Manifest,
  type Repository,
} from "../../lib/repository/index.ts";
import { bufferDisk, noise } from "./fixtures.ts";

const { signal } = new AbortController();
const SIZE = 300_000;
const PASSPHRASE = "not a secret";
const clusterId = "sql" as GuestClusterId;
const content = Buffer.alloc(SIZE);
noise(120_000, "content").copy(content, 40_000);

async function committed() {
  const objects = new Map<string, Uint8Array>();
  const repository = await createRepository(memoryStore(objects), {
    passphrase: PASSPHRASE,
    chunkBytes: 4096,
    mapFanOut: 16,
    scryptCost: 2 ** 14,
  });
  const session = await BackupSession.open(repository);
  const { mapRoot, sizes } = await session.backUp({
    disk: bufferDisk(content),
    changes: { kind: "full" },
    signal,
  });
  await session.finish();
  const name = await repository.commitManifest(manifestOf(mapRoot, sizes));
  return { objects, name, repository, mapRoot, sizes };
}

function manifestOf(
  mapRoot: string,
  sizes: Manifest["disks"][number]["sizes"],
): Omit<Manifest, "formatVersion" | "repositoryId"> {
  return {
    clusterId,
    runId: "20261123t020000z-0a1b2c3d" as RunId,
    createdAt: "2026-11-23T02:05:00.000Z",
    predecessor: null,
    consistency: "application",
    members: [],
    storageSnapshots: 1,
    disks: [
      {
        diskId: "00000000-0000-4000-8000-000000000001" as DiskId,
        label: "data.vhds",
        shared: true,
        attachedTo: ["00000000-0000-4000-8000-0000000000aa" as VmId],
        virtualSizeBytes: SIZE,
        logicalSectorBytes: 512,
        physicalSectorBytes: 4096,
        blockBytes: 1048576,
        mapRoot,
        referencePoint: null,
        changeSource: { kind: "full", reason: "first-backup" },
        sizes,
      },
    ],
    writtenBy: "test",
  };
}

/** Everything a restore does: key, manifest, map, chunks. */
async function restore(objects: Map<string, Uint8Array>, name: string): Promise<Buffer> {
  const repository = await openRepository(memoryStore(objects), {
    kind: "passphrase",
    passphrase: PASSPHRASE,
  });
  const manifest = await repository.readManifest(name);
  const [disk] = manifest.disks;
  const restored = Buffer.alloc(disk!.virtualSizeBytes);
  const where = { mapRoot: disk!.mapRoot, sizeBytes: disk!.virtualSizeBytes };
  for await (const { offsetBytes, data } of readDisk(repository, where, signal))
    data.copy(restored, offsetBytes);
  return restored;
}

const given = await committed();
const SAMPLES = 24;

describe("one flipped bit", () => {
  const names = [...given.objects.keys()].filter((name) => /^(packs|maps|manifests)/.test(name));

  test.each(names)("in %s ends the restore with a code that names the object", async (name) => {
    const bytes = given.objects.get(name)!;
    const step = Math.max(1, Math.floor(bytes.length / SAMPLES));
    for (let at = 0; at < bytes.length; at += step) {
      const flipped = Uint8Array.from(bytes);
      flipped[at]! ^= 1 << (at % 8);
      const objects = new Map(given.objects).set(name, flipped);
      await expect(restore(objects, given.name), `byte ${String(at)}`).rejects.toMatchObject({
        code: "REPOSITORY_OBJECT_DAMAGED",
        facts: { object: name },
      });
    }
  });

  test("in an index object costs a look into the packs, and the restore is right all the same", async () => {
    const name = [...given.objects.keys()].find((each) => each.startsWith("index/"))!;
    const flipped = Uint8Array.from(given.objects.get(name)!);
    flipped[flipped.length >> 1]! ^= 1;
    expect((await restore(new Map(given.objects).set(name, flipped), given.name)).equals(content)).toBe(true);
  });

  test("in repository.json never opens it as something else", async () => {
    const bytes = given.objects.get("repository.json")!;
    for (let at = 0; at < bytes.length; at += 37) {
      const flipped = Uint8Array.from(bytes);
      flipped[at]! ^= 1;
      const objects = new Map(given.objects).set("repository.json", flipped);
      const error: unknown = await restore(objects, given.name).catch((thrown: unknown) => thrown);
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      expect(["REPOSITORY_OBJECT_DAMAGED", "REPOSITORY_PASSPHRASE_WRONG"], `byte ${String(at)}`).toContain(
        code,
      );
    }
  }, 120_000);
});

test.each(["packs/", "maps/", "manifests/"])(
  "a missing object below %s is an error that says so",
  async (prefix) => {
    const objects = new Map(given.objects);
    for (const name of objects.keys()) if (name.startsWith(prefix)) objects.delete(name);
    const error: unknown = await restore(objects, given.name).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: prefix === "manifests/" ? "RESTORE_POINT_UNKNOWN" : "REPOSITORY_OBJECT_MISSING",
    });
  },
);

describe("a manifest that is whole but not the right one is refused", () => {
  test("under another restore point's name", async () => {
    const other = given.name.replace("020500", "030500");
    const objects = new Map(given.objects).set(other, given.objects.get(given.name)!);
    await expect(restore(objects, other)).rejects.toMatchObject({ code: "REPOSITORY_OBJECT_DAMAGED" });
  });

  test("from another repository", async () => {
    const stranger = await committed();
    const objects = new Map(given.objects).set(given.name, stranger.objects.get(stranger.name)!);
    await expect(restore(objects, given.name)).rejects.toMatchObject({ code: "REPOSITORY_OBJECT_DAMAGED" });
  });

  test("written without the signing key", async () => {
    const objects = new Map(given.objects);
    const text = Buffer.from(objects.get(given.name)!)
      .toString()
      .replace('"storageSnapshots":1', '"storageSnapshots":2');
    objects.set(given.name, Buffer.from(text));
    await expect(restore(objects, given.name)).rejects.toMatchObject({
      facts: { object: given.name, part: "signature" },
    });
  });
});

describe("a key is bound to its repository", () => {
  test.each([
    ["an agent's", exportWriterKey],
    ["the control plane's", exportControlPlaneKey],
  ])("%s key of another repository is refused before anything is written", async (_whose, exportKey) => {
    const stranger = await committed();
    const opening = openRepository(memoryStore(given.objects), parseKey(exportKey(stranger.repository)));
    await expect(opening).rejects.toMatchObject({ code: "REPOSITORY_KEY_MISMATCH" });
  });

  test("a swapped public key is noticed by everyone who writes", async () => {
    const stranger = await committed();
    const document = JSON.parse(Buffer.from(given.objects.get("repository.json")!).toString()) as Record<
      string,
      string
    >;
    const other = JSON.parse(Buffer.from(stranger.objects.get("repository.json")!).toString()) as Record<
      string,
      string
    >;
    const swapped = Buffer.from(
      Buffer.from(given.objects.get("repository.json")!)
        .toString()
        .replace(document["openingPublicKey"]!, other["openingPublicKey"]!),
    );
    const store = memoryStore(new Map(given.objects).set("repository.json", swapped));
    await expect(openRepository(store, parseKey(exportWriterKey(given.repository)))).rejects.toMatchObject({
      code: "REPOSITORY_KEY_MISMATCH",
    });
    await expect(openRepository(store, { kind: "passphrase", passphrase: PASSPHRASE })).rejects.toMatchObject(
      {
        code: "REPOSITORY_OBJECT_DAMAGED",
      },
    );
  });

  test.each(["", "gcbw1_", "gcbx1_AAAA", "hello"])(
    "%j is no key, and the refusal does not repeat it",
    (text) => {
      const parse = () => parseKey(text);
      expect(parse).toThrow(expect.objectContaining({ code: "REPOSITORY_KEY_INVALID" }));
    },
  );

  test("a key with one wrong letter is no key", () => {
    const key = exportWriterKey(given.repository);
    expect(() => parseKey(`${key.slice(0, 20)}${key[20] === "A" ? "B" : "A"}${key.slice(21)}`)).toThrow();
  });
});

test("a restore point is not committed over something that somebody put there", async () => {
  const objects = new Map(given.objects).set(given.name, Buffer.from("garbage"));
  const repository = await openRepository(
    memoryStore(objects),
    parseKey(exportControlPlaneKey(given.repository)),
  );
  await expect(repository.commitManifest(manifestOf(given.mapRoot, given.sizes))).rejects.toMatchObject({
    code: "REPOSITORY_OBJECT_DAMAGED",
    facts: { object: given.name },
  });
});

test("a wrong passphrase opens nothing", async () => {
  const opening = openRepository(memoryStore(given.objects), { kind: "passphrase", passphrase: "wrong" });
  await expect(opening).rejects.toMatchObject({ code: "REPOSITORY_PASSPHRASE_WRONG" });
});

test("committing the same run twice finds the first manifest", async () => {
  const again: Repository = given.repository;
  const before = given.objects.get(given.name);
  expect(await again.commitManifest(manifestOf(given.mapRoot, given.sizes))).toBe(given.name);
  expect(given.objects.get(given.name)).toBe(before);
});
