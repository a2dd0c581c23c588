import { mkdir, mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { confineTarget } from "../../lib/restore/index.ts";

let folder: string;
let root: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "gcb-restore-"));
  root = join(folder, "root");
  await mkdir(root);
  await mkdir(join(folder, "rootless"));
  await mkdir(join(folder, "outside"));
});
afterEach(() => rm(folder, { recursive: true }));

const refused = { code: "RESTORE_PATH_REFUSED" };

test("a directory below a root is made and given back", async () => {
  expect(await confineTarget([root], join(root, "a", "b"))).toBe(join(root, "a", "b"));
  expect(await confineTarget([root], root)).toBe(root);
  expect(await confineTarget([join(folder, "nowhere"), root], join(root, "a"))).toBe(join(root, "a"));
});

test.each([
  ["the way back up", (base: string) => `${base}/../outside`],
  ["a way back up that ends inside", (base: string) => `${base}/a/../../root/b`],
  ["a sibling whose name begins alike", (base: string) => `${base}less/a`],
  ["another place", () => "/etc"],
  ["the file system's root", () => "/"],
  ["a relative path", () => "a/b"],
  ["a backslash way up", (base: string) => `${base}/..\\..\\outside`],
  ["a control character", (base: string) => `${base}/a\0b`],
  ["nothing", () => ""],
])("%s is refused and nothing is made", async (_name, target) => {
  await expect(confineTarget([root], target(root))).rejects.toMatchObject(refused);
  expect((await readdir(folder)).sort()).toEqual(["outside", "root", "rootless"]);
  expect(await readdir(root)).toEqual([]);
});

test("a link that leads out of the root is refused, and nothing is made behind it", async () => {
  await symlink(join(folder, "outside"), join(root, "link"));
  await expect(confineTarget([root], join(root, "link"))).rejects.toMatchObject(refused);
  await expect(confineTarget([root], join(root, "link", "deeper"))).rejects.toMatchObject(refused);
  expect(await readdir(join(folder, "outside"))).toEqual([]);
});

test("a root that is itself a link is good, as an administrator named it", async () => {
  await symlink(root, join(folder, "alias"));
  expect(await confineTarget([join(folder, "alias")], join(folder, "alias", "a"))).toBe(join(root, "a"));
});

test("without roots nothing can be restored", async () => {
  await expect(confineTarget([], join(root, "a"))).rejects.toMatchObject(refused);
});
