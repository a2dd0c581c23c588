/**
 * Kills the embedded host 500 times at random moments and checks that nothing is lost or done again after it was
 * committed: `node tools/kill-host.ts [--kills N] [--seed N]`. Exit code 1 when a fault was found.
 */
import { parseArgs } from "node:util";
import { seededRandom } from "../test/local-host/kill/random.ts";
import { killRun } from "../test/local-host/kill/kill-run.ts";

const { values } = parseArgs({
  options: { kills: { type: "string", default: "500" }, seed: { type: "string", default: "1" } },
});
const startedAt = performance.now();
const result = await killRun({
  kills: Number(values.kills),
  instances: 10,
  width: 8,
  lifeMs: 500,
  random: seededRandom(Number(values.seed)),
  onKill: (count) => {
    if (count % 50 === 0) process.stderr.write(`${count} kills\n`);
  },
});
const seconds = Math.round((performance.now() - startedAt) / 1000);
process.stdout.write(`${JSON.stringify({ ...result, seconds }, undefined, 2)}\n`);
process.exitCode = result.faults.length === 0 && result.finished > 0 ? 0 : 1;
