/**
 * Structure-aware fuzzer of lib/vhdx: `npm run fuzz:vhdx -- --seconds N [--seed K] [--case C]`.
 *
 * Bends good files of every kind, with good checksums mostly, and holds the reader, the checker and the writer to:
 * a refusal with a code or a usable disk; no other error, no read outside the file, no case of 10 s, never more than
 * 256 MB. The same seed gives the same cases; a find names seed and case, and `--case` runs it alone.
 */
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { makeCorpus } from "./fuzz-vhdx/corpus.ts";
import { judge } from "./fuzz-vhdx/judge.ts";
import { mutate } from "./fuzz-vhdx/mutate.ts";
import { Random } from "./fuzz-vhdx/random.ts";

const CASE_LIMIT_MS = 10_000;
const MEMORY_LIMIT_BYTES = 256 * 1_000_000;

interface Task {
  readonly seed: number;
  readonly firstCase: number;
  readonly seconds: number;
  readonly maxCases: number;
}

type Message =
  | { readonly kind: "at"; readonly caseNumber: number }
  | { readonly kind: "find"; readonly caseNumber: number; readonly seedName: string; readonly what: string }
  | {
      readonly kind: "done";
      readonly cases: number;
      readonly outcomes: Readonly<Record<string, number>>;
      readonly peakBytes: number;
    };

if (isMainThread) await main();
else await work(workerData as Task);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { seconds: { type: "string" }, seed: { type: "string" }, case: { type: "string" } },
  });
  const seed = Number(values.seed ?? Date.now() % 1_000_000_000);
  const isSingle = values.case !== undefined;
  const task: Task = {
    seed,
    firstCase: Number(values.case ?? 0),
    seconds: Number(values.seconds ?? 60),
    maxCases: isSingle ? 1 : Number.POSITIVE_INFINITY,
  };
  process.stdout.write(`seed ${seed}\n`);
  process.exitCode = (await run(task)) ? 0 : 1;
}

/** Runs the cases in a thread, so that a case that never ends can be ended from here. */
function run(task: Task): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: task,
      resourceLimits: { maxOldGenerationSizeMb: 256 },
    });
    let caseNumber = task.firstCase;
    let finds = 0;
    let lastAt = performance.now();
    const watch = setInterval(() => {
      if (performance.now() - lastAt < CASE_LIMIT_MS) return;
      report(task.seed, caseNumber, "?", `the case did not end within ${CASE_LIMIT_MS} ms`);
      void worker.terminate().then(() => {
        resolve(false);
      });
    }, 1_000);
    worker.on("message", (message: Message) => {
      lastAt = performance.now();
      if (message.kind === "at") caseNumber = message.caseNumber;
      else if (message.kind === "find") {
        finds++;
        report(task.seed, message.caseNumber, message.seedName, message.what);
      } else {
        process.stdout.write(
          `${message.cases} cases, ${finds} finds, peak ${Math.round(message.peakBytes / 1e6)} MB\n`,
        );
        for (const [outcome, count] of Object.entries(message.outcomes).sort((a, b) => b[1] - a[1])) {
          process.stdout.write(`${String(count).padStart(9)} ${outcome}\n`);
        }
        resolve(finds === 0);
      }
    });
    worker.on("error", reject);
    worker.on("exit", () => {
      clearInterval(watch);
    });
  });
}

function report(seed: number, caseNumber: number, seedName: string, what: string): void {
  process.stdout.write(`FIND --seed ${seed} --case ${caseNumber} (${seedName}): ${what}\n`);
}

async function work(task: Task): Promise<void> {
  const port = parentPort;
  if (port === null) throw new Error("not a worker");
  const corpus = await makeCorpus();
  const outcomes: Record<string, number> = {};
  const end = performance.now() + task.seconds * 1_000;
  const collect = garbageCollector();
  collect();
  const idleBytes = inUse();
  let peakBytes = 0;
  let cases = 0;
  while (cases < task.maxCases && performance.now() < end) {
    const caseNumber = task.firstCase + cases;
    if (cases % 50 === 0) port.postMessage({ kind: "at", caseNumber } satisfies Message);
    // What earlier cases left behind is none of this one's memory.
    if (inUse() - idleBytes > MEMORY_LIMIT_BYTES / 4) collect();
    const random = new Random(task.seed, caseNumber);
    const seed = random.pick(corpus);
    try {
      const bytes = mutate(Uint8Array.from(seed.bytes), random);
      const outcome = await judge(bytes, seed.parent, random);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      const usedBytes = inUse() - idleBytes;
      peakBytes = Math.max(peakBytes, usedBytes);
      if (usedBytes > MEMORY_LIMIT_BYTES) throw new Error(`${Math.round(usedBytes / 1e6)} MB in use`);
    } catch (error) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      port.postMessage({ kind: "find", caseNumber, seedName: seed.name, what } satisfies Message);
    }
    cases++;
  }
  port.postMessage({ kind: "done", cases, outcomes, peakBytes } satisfies Message);
}

function inUse(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function garbageCollector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}
