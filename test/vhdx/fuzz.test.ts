import { expect, test } from "vitest";
import { makeCorpus } from "../../tools/fuzz-vhdx/corpus.ts";
import { judge } from "../../tools/fuzz-vhdx/judge.ts";
import { mutate } from "../../tools/fuzz-vhdx/mutate.ts";
import { Random } from "../../tools/fuzz-vhdx/random.ts";

/** `npm run fuzz:vhdx` runs these cases and more; here they show that fuzzer and room agree on every commit. */
test("the first 600 cases of the fuzzer's seed 1 are refused with a code, or usable", async () => {
  const corpus = await makeCorpus();
  const outcomes = new Map<string, number>();
  for (let caseNumber = 0; caseNumber < 600; caseNumber++) {
    const random = new Random(1, caseNumber);
    const seed = random.pick(corpus);
    const outcome = await judge(mutate(Uint8Array.from(seed.bytes), random), seed.parent, random);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  // The cases reach deep enough: many are usable, and the refusals are of many kinds.
  expect(outcomes.get("written")).toBeGreaterThan(20);
  expect(outcomes.get("read")).toBeGreaterThan(60);
  expect(outcomes.size).toBeGreaterThan(25);
});
