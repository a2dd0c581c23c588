import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ContainerSASPermissions, type ContainerClient } from "@azure/storage-blob";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  azureBlobStore,
  directoryStore,
  memoryStore,
  openStore,
  type ObjectStore,
} from "../../lib/repository/index.ts";
import { startAzurite } from "../azurite.ts";
import { noise } from "./fixtures.ts";

let azurite: Awaited<ReturnType<typeof startAzurite>>;
let folder: string;

beforeAll(async () => {
  azurite = await startAzurite();
  folder = await mkdtemp(join(tmpdir(), "gcb-store-"));
});
afterAll(async () => {
  await azurite[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** What every store must do. */
describe.each<[string, () => Promise<ObjectStore>]>([
  ["memory", () => Promise.resolve(memoryStore())],
  ["directory", () => Promise.resolve(directoryStore(join(folder, "contract")))],
  ["azure blob (Azurite)", async () => azureBlobStore(await azurite.container("contract"))],
])("%s store", (_name, open) => {
  let store: ObjectStore;
  beforeAll(async () => {
    store = await open();
  });

  const names = async (prefix: string) => {
    const found: string[] = [];
    for await (const { name } of store.list(prefix)) found.push(name);
    return found;
  };

  test("gives back what was put, whole and by range, and undefined for what is not there", async () => {
    const bytes = noise(100_000, "object");
    expect(await store.put("packs/aa/one", bytes, { ifAbsent: true })).toBe("created");
    expect(Buffer.from((await store.get("packs/aa/one"))!).equals(bytes)).toBe(true);
    const part = await store.get("packs/aa/one", { offsetBytes: 70_000, lengthBytes: 1_000 });
    expect(Buffer.from(part!).equals(bytes.subarray(70_000, 71_000))).toBe(true);
    expect(await store.get("packs/aa/none")).toBeUndefined();
  });

  test("keeps an object that is there when asked to create only, and replaces it otherwise", async () => {
    await store.put("runs/a.json", Buffer.from("first"), { ifAbsent: true });
    expect(await store.put("runs/a.json", Buffer.from("second"), { ifAbsent: true })).toBe("exists");
    expect(Buffer.from((await store.get("runs/a.json"))!).toString()).toBe("first");
    await store.put("runs/a.json", Buffer.from("third"), { ifAbsent: false });
    expect(Buffer.from((await store.get("runs/a.json"))!).toString()).toBe("third");
  });

  test("lets exactly one of many simultaneous creators win", async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        store.put("race/one", Buffer.from([index]), { ifAbsent: true }),
      ),
    );
    expect(outcomes.filter((outcome) => outcome === "created")).toHaveLength(1);
    expect((await store.get("race/one"))![0]).toBe(outcomes.indexOf("created"));
  });

  test("lists by prefix in ascending order, with sizes", async () => {
    for (const name of ["list/b", "list/a", "list/a2/x", "listing"])
      await store.put(name, noise(7, name), { ifAbsent: true });
    expect(await names("list/")).toEqual(["list/a", "list/a2/x", "list/b"]);
    expect(await names("list/a")).toEqual(["list/a", "list/a2/x"]);
    expect(await names("nothing/")).toEqual([]);
    for await (const { sizeBytes } of store.list("list/b")) expect(sizeBytes).toBe(7);
  });

  test("removes, and does not mind what is gone", async () => {
    await store.put("gone/x", Buffer.from("x"), { ifAbsent: true });
    await store.remove("gone/x");
    await store.remove("gone/x");
    expect(await store.get("gone/x")).toBeUndefined();
  });

  test("stores an empty object", async () => {
    await store.put("empty/x", Buffer.alloc(0), { ifAbsent: true });
    expect(await store.get("empty/x")).toHaveLength(0);
  });
});

describe("a directory store", () => {
  test("leaves no temporary file behind and shows none", async () => {
    const store = directoryStore(join(folder, "tidy"));
    await store.put("packs/aa/x", Buffer.from("x"), { ifAbsent: true });
    await store.put("packs/aa/x", Buffer.from("y"), { ifAbsent: true });
    await store.put("packs/aa/x", Buffer.from("z"), { ifAbsent: false });
    expect(await readdir(join(folder, "tidy/packs/aa"))).toEqual(["x"]);
  });

  test.each([
    "../outside",
    "/etc/passwd",
    "packs/../../x",
    "packs//x",
    ".hidden",
    "packs/.tmp-x",
    "a\\b",
    "",
  ])("refuses the name %j", async (name) => {
    const store = directoryStore(join(folder, "names"));
    await expect(store.put(name, Buffer.from("x"), { ifAbsent: true })).rejects.toMatchObject({
      code: "INPUT_INVALID",
    });
  });
});

describe("the token that an agent gets (create, read, list)", () => {
  let store: ObjectStore;
  beforeAll(async () => {
    const container: ContainerClient = await azurite.container("rights");
    await azureBlobStore(container).put("packs/aa/old", Buffer.from("old"), { ifAbsent: true });
    const permissions = ContainerSASPermissions.parse("rcl");
    store = openStore(
      await container.generateSasUrl({ permissions, expiresOn: new Date(Date.now() + 600_000) }),
    );
  });

  test("adds and reads objects", async () => {
    expect(await store.put("packs/aa/new", Buffer.from("new"), { ifAbsent: true })).toBe("created");
    expect(await store.put("packs/aa/new", Buffer.from("new"), { ifAbsent: true })).toBe("exists");
    expect(Buffer.from((await store.get("packs/aa/old"))!).toString()).toBe("old");
  });

  test("can neither overwrite nor remove, and the refusal shows no token", async () => {
    const overwriting = store.put("packs/aa/old", Buffer.from("bad"), { ifAbsent: false });
    await expect(overwriting).rejects.toMatchObject({ code: "STORE_REFUSED" });
    await expect(store.remove("packs/aa/old")).rejects.toMatchObject({
      code: "STORE_REFUSED",
      message: expect.not.stringContaining("sig=") as string,
    });
    expect(Buffer.from((await store.get("packs/aa/old"))!).toString()).toBe("old");
  });
});

test.each(["ftp://host/x?sig=secret", "relative/path", "https//typo?sig=secret", ""])(
  "%j is refused as a repository URL",
  (url) => {
    const open = () => openStore(url);
    expect(open).toThrow(expect.objectContaining({ code: "INPUT_INVALID" }));
    expect(open).not.toThrow("secret");
  },
);
