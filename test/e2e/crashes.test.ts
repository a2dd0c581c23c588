import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunRecord } from "../../lib/contracts/index.ts";
import type { Estate, ServiceName } from "../../lib/cli/estate/estate.ts";
import { connectSimulatedHost, setFaults, type Fault } from "../../lib/simulated-host/index.ts";
import { installation } from "./installation.ts";

const signal = AbortSignal.timeout(9 * 60_000);
let estate: Estate;

beforeAll(async () => {
  estate = await installation();
}, 120_000);
afterAll(() => estate[Symbol.asyncDispose](), 60_000);

async function backUp(): Promise<RunRecord> {
  const run = await estate.controlPlane.startBackup(estate.cluster.id);
  return estate.controlPlane.follow(run, () => undefined, signal);
}

function leftovers() {
  return connectSimulatedHost({ url: estate.simulatedHostUrl }).findLeftovers(estate.cluster.members);
}

/** Makes the step last long enough to be hit; `ship` is made long by comparing everything. */
function slowDown(step: string): Fault[] {
  const times = 1;
  switch (step) {
    case "consistency-point":
      return [{ kind: "freeze-slow", vmId: estate.cluster.members[0]!, ms: 2_000, times }];
    case "update-references":
      return [{ kind: "call-slow", method: "convertToReferencePoint", ms: 2_000, times }];
    case "clean-up":
      return [{ kind: "call-slow", method: "releaseStorageSnapshot", ms: 2_000, times }];
    default:
      return [];
  }
}

/** Starts a backup and kills `service` as soon as the run reaches `step`; starts it again a moment later. */
async function backUpKilling(service: ServiceName, step: string): Promise<RunRecord> {
  await setFaults({ url: estate.simulatedHostUrl }, slowDown(step));
  const requested = step === "ship" ? "compare" : "incremental";
  const run = await estate.controlPlane.startBackup(estate.cluster.id, requested);
  let killing: Promise<void> | undefined;
  const record = await estate.controlPlane.follow(
    run,
    (reached) => {
      if (reached !== step || killing !== undefined) return;
      killing = (async () => {
        await sleep(300);
        await estate.services[service].kill();
        await sleep(500);
        await estate.services[service].start();
      })();
    },
    signal,
  );
  expect(killing, `the run was never seen at ${step}`).toBeDefined();
  await killing;
  await setFaults({ url: estate.simulatedHostUrl }, []);
  return record;
}

function longestFreezeMs(record: RunRecord): number {
  return Math.max(0, ...(record.point?.members ?? []).map(({ frozenMs }) => frozenMs));
}

describe.each<ServiceName>(["agent", "functions"])(
  "kill -9 of the %s process in the middle of a backup",
  (service) => {
    test.each(["consistency-point", "update-references", "ship", "clean-up"])(
      "at %s: the run ends, nobody stays frozen, nothing is left, and the next backup is incremental",
      async (step) => {
        const first = await backUp();
        expect(first.state).toBe("committed");

        const record = await backUpKilling(service, step);
        expect(["committed", "undone"]).toContain(record.state);
        expect(longestFreezeMs(record)).toBeLessThanOrEqual(estate.cluster.frozenDeadlineMs);
        expect(await leftovers()).toEqual([]);

        const next = await backUp();
        expect(next).toMatchObject({ state: "committed", leftovers: [] });
        expect(next.disks?.map(({ source }) => source.kind)).toEqual(next.disks?.map(() => "rct"));
        expect(next.point?.storageSnapshots).toBe(1);
      },
      180_000,
    );
  },
);
