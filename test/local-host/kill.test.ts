import { expect, test } from "vitest";
import { killRun } from "./kill/kill-run.ts";
import { seededRandom } from "./kill/random.ts";

// Five hundred kills take minutes: node tools/kill-host.ts.
test("a host that is killed at random moments loses no result and repeats none that was committed", async () => {
  const result = await killRun({ kills: 8, instances: 4, width: 6, lifeMs: 300, random: seededRandom(7) });
  expect(result.faults).toEqual([]);
  expect(result.kills).toBe(8);
  expect(result.finished).toBeGreaterThanOrEqual(4);
});
