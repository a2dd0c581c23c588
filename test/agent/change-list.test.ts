import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readChangeList, writeChangeList } from "../../lib/agent/change-list.ts";
import { temporaryFolder } from "./bench.ts";

test("a change list is read back as it was written, and not at all when a byte of it changed", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "runs", "a.changes");
  const ranges = [
    { offsetBytes: 0, lengthBytes: 512 },
    { offsetBytes: 64 * 2 ** 40 - 512, lengthBytes: 512 },
  ];
  const digest = await writeChangeList(file, ranges);
  expect(await readChangeList(file, digest)).toEqual(ranges);
  await writeFile(file, Buffer.alloc(32));
  await expect(readChangeList(file, digest)).rejects.toMatchObject({ code: "AGENT_DATA_INVALID" });
});
