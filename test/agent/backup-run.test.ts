import { expect, test } from "vitest";
import { operationIdOf } from "../../lib/contracts/index.ts";
import {
  backUp,
  backupSteps,
  fakeRepository,
  newRunId,
  newState,
  operate,
  PRIVATE,
  SHARED,
  startProcess,
  temporaryFolder,
} from "./bench.ts";
import { fakeHost } from "./fake-host.ts";

test("a first backup ships every disk in full and leaves only its reference points on the host", async () => {
  await using folder = await temporaryFolder();
  const state = newState();
  const repository = fakeRepository();
  await using agent = startProcess({ folder: folder.path, host: fakeHost(state), repository });
  const { leftovers, disks } = await backUp(agent.engine, newRunId(), undefined);
  expect(leftovers).toEqual([]);
  expect(repository.shipped.map(({ changes }) => changes.kind)).toEqual(["full", "full"]);
  expect(disks.map(({ diskId }) => diskId)).toEqual([SHARED, PRIVATE]);
  expect(state).toMatchObject({ checkpoints: [], storageSnapshots: [], freezes: 1 });
  expect(state.references).toHaveLength(1);
});

test("the second backup ships the change ranges and drops the first one's reference points", async () => {
  await using folder = await temporaryFolder();
  const state = newState();
  const repository = fakeRepository();
  await using agent = startProcess({ folder: folder.path, host: fakeHost(state), repository });
  const first = await backUp(agent.engine, newRunId(), undefined);
  state.changes.set(SHARED, [
    { offsetBytes: 65_536, lengthBytes: 16_384 },
    { offsetBytes: 0, lengthBytes: 16_384 },
    { offsetBytes: 8_192, lengthBytes: 16_384 },
  ]);
  const runId = newRunId();
  const second = await backUp(agent.engine, runId, first);
  const shipped = repository.shipped.slice(2).find(({ disk }) => disk.diskId === SHARED);
  expect(shipped?.changes).toMatchObject({
    kind: "ranges",
    ranges: [
      { offsetBytes: 0, lengthBytes: 24_576 },
      { offsetBytes: 65_536, lengthBytes: 16_384 },
    ],
  });
  expect(state.references.map(({ tag }) => tag)).toEqual([runId]);
  expect(second.leftovers).toEqual([]);
});

test("the same PUT twice is one execution", async () => {
  await using folder = await temporaryFolder();
  const state = newState();
  await using agent = startProcess({ folder: folder.path, host: fakeHost(state) });
  const runId = newRunId();
  const [, point] = backupSteps(undefined);
  const once = await operate(agent.engine, runId, point.kind, point.input);
  const twice = await operate(agent.engine, runId, point.kind, point.input);
  expect(twice).toEqual(once);
  expect(state.freezes).toBe(1);
  expect(agent.engine.state(operationIdOf(runId, "consistency-point")).state).toBe("succeeded");
});
