import { describe, expect, test } from "vitest";
import { operationIdOf, type OperationKind } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import type { RepositoryPort, ShipRequest } from "../../lib/agent/repository-port.ts";
import {
  backUp,
  backupSteps,
  CLUSTER,
  ended,
  MEMBERS,
  newRunId,
  newState,
  operate,
  POINT_INPUT,
  PRIVATE,
  ROOT_OF,
  SHARED,
  startProcess,
  temporaryFolder,
  URL_WITH_SECRET,
} from "./bench.ts";
import { fakeHost } from "./fake-host.ts";

const MINUTE = 60_000;
const SHIP = { repository: { url: URL_WITH_SECRET }, base: [] };
const soon = new AbortController().signal;

/** A repository whose uploads wait until they are let go or cut off. */
function slowRepository() {
  const started: ShipRequest[] = [];
  const gate = Promise.withResolvers<undefined>();
  const begun = Promise.withResolvers<undefined>();
  const repository: RepositoryPort = {
    openForBackup: () =>
      Promise.resolve({
        async backUpDisk(request) {
          started.push(request);
          begun.resolve(undefined);
          const cut = new Promise<never>((_, reject) => {
            request.signal.addEventListener("abort", () => {
              reject(request.signal.reason as Error);
            });
          });
          await Promise.race([gate.promise, cut]);
          const zero = { allocatedBytes: 0, changedBytes: 0, changedChunkBytes: 0, readBytes: 0 };
          return {
            mapRoot: ROOT_OF(request.disk.diskId),
            sizes: { ...zero, newChunkBytes: 0, uploadedBytes: 0 },
          };
        },
      }),
    openForRestore: () => Promise.reject(new BackupError("RESTORE_PASSPHRASE_MISSING", "not here")),
  };
  return { repository, started, begun: begun.promise, letGo: () => gate.resolve(undefined) };
}

describe("one run", () => {
  test("an operation that exists with another input is a conflict", async () => {
    await using folder = await temporaryFolder();
    await using agent = startProcess({ folder: folder.path, host: fakeHost(newState()) });
    const runId = newRunId();
    await operate(agent.engine, runId, "consistency-point", POINT_INPUT);
    const put = (input: unknown, clusterId = CLUSTER) =>
      agent.engine.put({ kind: "consistency-point", runId, clusterId, input });
    const conflict = expect.objectContaining({ code: "AGENT_OPERATION_CONFLICT" }) as unknown;
    expect(() => put({ ...POINT_INPUT, frozenDeadlineMs: 1 })).toThrow(conflict);
    expect(() => put(POINT_INPUT, "other" as typeof CLUSTER)).toThrow(conflict);
  });

  test("the same input with its fields in another order, and another token, is the same operation", async () => {
    await using folder = await temporaryFolder();
    const slow = slowRepository();
    await using agent = startProcess({
      folder: folder.path,
      host: fakeHost(newState()),
      repository: slow.repository,
    });
    const runId = newRunId();
    for (const { kind, input } of backupSteps(undefined).slice(0, 4))
      await operate(agent.engine, runId, kind, input as never);
    agent.engine.put({ kind: "ship", runId, clusterId: CLUSTER, input: SHIP });
    await slow.begun;
    agent.engine.put({
      kind: "ship",
      runId,
      clusterId: CLUSTER,
      input: { base: [], repository: { url: "https://renewed" } },
    });
    slow.letGo();
    expect((await ended(agent.engine, operationIdOf(runId, "ship"))).state).toBe("succeeded");
    expect(slow.started).toHaveLength(2);
  });

  test("takes one operation at a time", async () => {
    await using folder = await temporaryFolder();
    const slow = slowRepository();
    await using agent = startProcess({
      folder: folder.path,
      host: fakeHost(newState()),
      repository: slow.repository,
    });
    const runId = newRunId();
    for (const { kind, input } of backupSteps(undefined).slice(0, 4))
      await operate(agent.engine, runId, kind, input as never);
    agent.engine.put({ kind: "ship", runId, clusterId: CLUSTER, input: SHIP });
    const cleanUp = () =>
      agent.engine.put({ kind: "clean-up", runId, clusterId: CLUSTER, input: { keep: [] } });
    expect(cleanUp).toThrow(expect.objectContaining({ code: "AGENT_RUN_BUSY", retry: "later" }) as Error);
    slow.letGo();
    await ended(agent.engine, operationIdOf(runId, "ship"));
    expect(cleanUp().state).toBe("running");
  });

  test.each<[OperationKind, unknown]>([
    ["update-references", {}],
    ["change-ranges", { previous: [], requested: "full" }],
    ["ship", SHIP],
    ["clean-up", { keep: [] }],
  ])("%s before the step it builds on fails and says so", async (kind, input) => {
    await using folder = await temporaryFolder();
    await using agent = startProcess({ folder: folder.path, host: fakeHost(newState()) });
    await expect(operate(agent.engine, newRunId(), kind, input as never)).rejects.toMatchObject({
      code: "AGENT_STEP_MISSING",
    });
  });

  test("a member that another run works on is left alone", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    await using agent = startProcess({ folder: folder.path, host: fakeHost(state) });
    await operate(agent.engine, newRunId(), "consistency-point", POINT_INPUT);
    const second = operate(agent.engine, newRunId(), "consistency-point", {
      ...POINT_INPUT,
      members: MEMBERS.slice(2),
    });
    await expect(second).rejects.toMatchObject({ code: "AGENT_MEMBERS_BUSY" });
    expect(state.freezes).toBe(1);
    expect(state.checkpoints).toHaveLength(1);
  });
});

describe("undo", () => {
  test("ends what is under way, takes everything back and keeps the previous reference", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    {
      await using agent = startProcess({ folder: folder.path, host: fakeHost(state) });
      await backUp(agent.engine, newRunId(), undefined);
    }
    const [before] = state.references;
    const slow = slowRepository();
    await using agent = startProcess({
      folder: folder.path,
      host: fakeHost(state),
      repository: slow.repository,
    });
    const runId = newRunId();
    for (const { kind, input } of backupSteps(undefined).slice(0, 4))
      await operate(agent.engine, runId, kind, input as never);
    agent.engine.put({ kind: "ship", runId, clusterId: CLUSTER, input: SHIP });
    await slow.begun;
    agent.engine.undo(runId, CLUSTER);
    const undone = await ended(agent.engine, operationIdOf(runId, "undo"));
    expect(undone).toMatchObject({ state: "succeeded", result: { leftovers: [] } });
    expect(agent.engine.state(operationIdOf(runId, "ship"))).toMatchObject({
      state: "failed",
      error: { code: "CANCELLED" },
    });
    expect(state).toMatchObject({ checkpoints: [], storageSnapshots: [], references: [before] });
  });

  test("takes newest effects away first", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    const host = fakeHost(state);
    await using agent = startProcess({ folder: folder.path, host });
    const runId = newRunId();
    await operate(agent.engine, runId, "consistency-point", POINT_INPUT);
    const undone = await operate(agent.engine, runId, "undo", {});
    expect(undone.undone.map((text) => text.replace(/ [^ ]+$/, ""))).toEqual([
      "storage snapshot",
      "recovery checkpoint",
    ]);
  });

  test("of a run that nobody knows does nothing", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    await using agent = startProcess({ folder: folder.path, host: fakeHost(state) });
    expect(await operate(agent.engine, newRunId(), "undo", {})).toEqual({ undone: [], leftovers: [] });
  });

  test("is the end of the run: a step that comes late is refused", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    await using agent = startProcess({ folder: folder.path, host: fakeHost(state) });
    const runId = newRunId();
    await operate(agent.engine, runId, "undo", {});
    const late = () =>
      agent.engine.put({ kind: "consistency-point", runId, clusterId: CLUSTER, input: POINT_INPUT });
    expect(late).toThrow(expect.objectContaining({ code: "AGENT_RUN_ENDED" }) as Error);
    expect(state.freezes).toBe(0);
  });

  test("that failed can be asked for again", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    const host = fakeHost(state, (_index, name) =>
      name === "releaseStorageSnapshot" && failures-- > 0
        ? new BackupError("STORAGE_SNAPSHOT_FAILED", "busy")
        : "answer",
    );
    let failures = 1;
    await using agent = startProcess({ folder: folder.path, host });
    const runId = newRunId();
    await operate(agent.engine, runId, "consistency-point", POINT_INPUT);
    await expect(operate(agent.engine, runId, "undo", {})).rejects.toMatchObject({ code: "UNDO_INCOMPLETE" });
    // The checkpoint is gone all the same: one failure does not stop the rest.
    expect(state.checkpoints).toEqual([]);
    expect(await operate(agent.engine, runId, "undo", {})).toMatchObject({ leftovers: [] });
    expect(state.storageSnapshots).toEqual([]);
  });

  test("that keeps failing does not keep other runs from the members, and what it left is reported", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    const stuck = fakeHost(state, (_index, name) =>
      name === "releaseStorageSnapshot" ? new BackupError("STORAGE_SNAPSHOT_FAILED", "busy") : "answer",
    );
    await using agent = startProcess({ folder: folder.path, host: stuck });
    const runId = newRunId();
    await operate(agent.engine, runId, "consistency-point", POINT_INPUT);
    await expect(operate(agent.engine, runId, "undo", {})).rejects.toMatchObject({ code: "UNDO_INCOMPLETE" });
    const [left] = state.storageSnapshots;
    const { findings } = await operate(agent.engine, newRunId(), "preflight", {
      ...{ members: MEMBERS, consistency: "application" },
    });
    expect(findings).toMatchObject([{ code: "PREFLIGHT_STORAGE_SNAPSHOT_LEFT", severity: "warn" }]);
    const { leftovers } = await backUp(agent.engine, newRunId(), undefined);
    expect(leftovers.map(({ id }) => id)).toContain(left!.storageSnapshotId);
  });

  test("after the clean-up was asked for keeps the reference points of the restore point", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    await using agent = startProcess({ folder: folder.path, host: fakeHost(state) });
    const runId = newRunId();
    await backUp(agent.engine, runId, undefined);
    await operate(agent.engine, runId, "undo", {});
    expect(state.references.map(({ tag }) => tag)).toEqual([runId]);
  });
});

describe("the dead man's switch", () => {
  /** A run that has reached the step before `until`, on a clock that the test moves. */
  async function runUpTo(until: OperationKind) {
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await temporaryFolder());
    const state = newState();
    const time = { now: Date.parse("2026-11-23T03:15:00Z") };
    const agent = stack.use(
      startProcess({ folder: folder.path, host: fakeHost(state), clock: () => new Date(time.now) }),
    );
    const runId = newRunId();
    for (const { kind, input } of backupSteps(undefined)) {
      if (kind === until) break;
      await operate(agent.engine, runId, kind, input as never);
    }
    const owned = stack.move();
    return { state, time, agent, runId, [Symbol.asyncDispose]: () => owned.disposeAsync() };
  }

  test("undoes a run whose control plane has been silent for 30 minutes, and not before", async () => {
    await using run = await runUpTo("ship");
    run.time.now += 29 * MINUTE;
    run.agent.engine.expireRuns();
    expect(run.agent.engine.runningOperations).toEqual([]);
    run.time.now += 2 * MINUTE;
    run.agent.engine.expireRuns();
    await ended(run.agent.engine, operationIdOf(run.runId, "undo"));
    expect(run.state).toMatchObject({ checkpoints: [], storageSnapshots: [], references: [] });
    const late = () =>
      run.agent.engine.put({ kind: "ship", runId: run.runId, clusterId: CLUSTER, input: SHIP });
    expect(late).toThrow(expect.objectContaining({ code: "AGENT_RUN_EXPIRED" }) as Error);
  });

  test("waits as long as the control plane asks", async () => {
    await using run = await runUpTo("ship");
    for (let minutes = 0; minutes < 90; minutes += 20) {
      run.time.now += 20 * MINUTE;
      await run.agent.engine.wait(operationIdOf(run.runId, "change-ranges"), 0, soon);
      run.agent.engine.expireRuns();
    }
    expect(run.agent.journal.operation(operationIdOf(run.runId, "undo"))).toBeUndefined();
    expect(run.state.storageSnapshots).toHaveLength(1);
  });

  test("gives back the space after everything was shipped, but keeps the reference points: the point may be committed", async () => {
    await using run = await runUpTo("clean-up");
    run.time.now += 31 * MINUTE;
    run.agent.engine.expireRuns();
    await ended(run.agent.engine, operationIdOf(run.runId, "undo"));
    expect(run.state).toMatchObject({ checkpoints: [], storageSnapshots: [] });
    expect(run.state.references.map(({ tag }) => tag)).toEqual([run.runId]);
  });

  test("forgets a run that never touched anything", async () => {
    await using run = await runUpTo("consistency-point");
    run.time.now += 31 * MINUTE;
    run.agent.engine.expireRuns();
    expect(run.agent.journal.operation(operationIdOf(run.runId, "undo"))).toBeUndefined();
    expect(run.agent.journal.openRuns()).toEqual([]);
  });
});

describe("a restart", () => {
  test("waits with shipping until the control plane sends the URL again, then ships only the disks that are missing", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    const runId = newRunId();
    const shippedDisks: string[] = [];
    const slow = slowRepository();
    const firstOnly: RepositoryPort = {
      ...slow.repository,
      openForBackup: async (url) => {
        const target = await slow.repository.openForBackup(url);
        return {
          backUpDisk: (request) => {
            if (request.disk.diskId !== SHARED) return target.backUpDisk(request);
            shippedDisks.push(request.disk.diskId);
            const zero = { allocatedBytes: 0, changedBytes: 0, changedChunkBytes: 0, readBytes: 0 };
            const sizes = { ...zero, newChunkBytes: 0, uploadedBytes: 0 };
            return Promise.resolve({ mapRoot: ROOT_OF(SHARED), sizes });
          },
        };
      },
    };
    {
      await using agent = startProcess({ folder: folder.path, host: fakeHost(state), repository: firstOnly });
      for (const { kind, input } of backupSteps(undefined).slice(0, 4))
        await operate(agent.engine, runId, kind, input as never);
      agent.engine.put({ kind: "ship", runId, clusterId: CLUSTER, input: SHIP });
      await slow.begun;
    }
    const again = slowRepository();
    again.letGo();
    await using agent = startProcess({
      folder: folder.path,
      host: fakeHost(state),
      repository: again.repository,
    });
    agent.engine.resume();
    const id = operationIdOf(runId, "ship");
    expect((await agent.engine.wait(id, 20, soon)).state).toBe("running");
    expect(again.started).toEqual([]);
    const result = await operate(agent.engine, runId, "ship", SHIP);
    expect(again.started.map(({ disk }) => disk.diskId)).toEqual([PRIVATE]);
    expect(result.disks.map(({ diskId }) => diskId)).toEqual([SHARED, PRIVATE]);
    expect(shippedDisks).toEqual([SHARED]);
  });

  test("goes on with an undo, and ends the operation that it was to stop", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    const runId = newRunId();
    const dying = fakeHost(state, (_index, name) =>
      name === "releaseStorageSnapshot" ? "die-before" : "answer",
    );
    const killed = startProcess({ folder: folder.path, host: dying });
    await operate(killed.engine, runId, "consistency-point", POINT_INPUT);
    killed.engine.undo(runId, CLUSTER);
    await dying.died;
    await using agent = startProcess({ folder: folder.path, host: fakeHost(state) });
    agent.engine.resume();
    expect((await ended(agent.engine, operationIdOf(runId, "undo"))).state).toBe("succeeded");
    expect(state).toMatchObject({ checkpoints: [], storageSnapshots: [] });
    killed.journal[Symbol.dispose]();
  });
});

test("a long poll is answered at once when the agent stops", async () => {
  await using folder = await temporaryFolder();
  const slow = slowRepository();
  const runId = newRunId();
  const agent = startProcess({
    folder: folder.path,
    host: fakeHost(newState()),
    repository: slow.repository,
  });
  for (const { kind, input } of backupSteps(undefined).slice(0, 4))
    await operate(agent.engine, runId, kind, input as never);
  agent.engine.put({ kind: "ship", runId, clusterId: CLUSTER, input: SHIP });
  await slow.begun;
  const poll = agent.engine.wait(operationIdOf(runId, "ship"), 600_000, soon);
  agent.engine.answerWaiting();
  expect((await poll).state).toBe("running");
  await agent[Symbol.asyncDispose]();
});

describe("the consistency point", () => {
  const unquiet = (code: "QUIESCE_FAILED" | "QUIESCE_TIMED_OUT", times: number) => {
    let left = times;
    return (_index: number, name: string) =>
      name === "createRecoveryCheckpoint" && left-- > 0
        ? new BackupError(code, "a writer of node-2 failed")
        : "answer";
  };

  test("is never crash-consistent unless the policy says so", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    await using agent = startProcess({
      folder: folder.path,
      host: fakeHost(state, unquiet("QUIESCE_FAILED", 1)),
    });
    const attempt = operate(agent.engine, newRunId(), "consistency-point", POINT_INPUT);
    await expect(attempt).rejects.toMatchObject({ code: "QUIESCE_FAILED" });
    expect(state).toMatchObject({ checkpoints: [], storageSnapshots: [], freezes: 0 });
  });

  test.each(["QUIESCE_FAILED", "QUIESCE_TIMED_OUT"] as const)(
    "says so when it is, after %s",
    async (code) => {
      await using folder = await temporaryFolder();
      await using agent = startProcess({ folder: folder.path, host: fakeHost(newState(), unquiet(code, 1)) });
      const input = { ...POINT_INPUT, consistency: "application-or-crash" } as const;
      const point = await operate(agent.engine, newRunId(), "consistency-point", input);
      expect(point.consistency).toBe("crash");
      expect(point.members.every(({ consistency }) => consistency === "crash")).toBe(true);
      expect(agent.logged.join("\n")).toContain("crash-consistent");
    },
  );

  test("counts one storage snapshot, and leaves private disks out when the policy does", async () => {
    await using folder = await temporaryFolder();
    await using agent = startProcess({ folder: folder.path, host: fakeHost(newState()) });
    const point = await operate(agent.engine, newRunId(), "consistency-point", {
      ...POINT_INPUT,
      includePrivateDisks: false,
    });
    expect(point.storageSnapshots).toBe(1);
    expect(point.disks.map(({ diskId }) => diskId)).toEqual([SHARED]);
  });
});

describe("change ranges", () => {
  test.each([
    ["REFERENCE_POINT_LOST", "reference-point-lost"],
    ["TRACKING_DISABLED", "tracking-disabled"],
    ["HYPERV_ANSWER_INVALID", "reference-point-lost"],
  ] as const)("after %s are not trusted: the disk is compared", async (code, reason) => {
    await using folder = await temporaryFolder();
    const state = newState();
    const host = fakeHost(state, (_index, name) =>
      name === "getDiskChanges" ? new BackupError(code, "lost") : "answer",
    );
    await using agent = startProcess({ folder: folder.path, host });
    const first = await backUp(agent.engine, newRunId(), undefined);
    const runId = newRunId();
    await backUp(agent.engine, runId, first);
    const { result } = agent.engine.state(operationIdOf(runId, "change-ranges")) as { result: unknown };
    expect(result).toMatchObject({
      disks: [{ source: { kind: "compare", reason } }, { source: { kind: "compare", reason } }],
    });
  });

  test.each([
    ["begins behind the disk's end", { offsetBytes: 2 ** 40, lengthBytes: 512 }],
    ["has no length", { offsetBytes: 0, lengthBytes: 0 }],
    ["has a negative offset", { offsetBytes: -512, lengthBytes: 1024 }],
  ])("with a range that %s are not trusted", async (_name, range) => {
    await using folder = await temporaryFolder();
    const state = newState();
    const plain = fakeHost(state);
    const host = {
      ...plain,
      getDiskChanges: () => Promise.resolve({ processedBytes: 1024, ranges: [range] }),
    };
    await using agent = startProcess({ folder: folder.path, host });
    const first = await backUp(agent.engine, newRunId(), undefined);
    const runId = newRunId();
    await backUp(agent.engine, runId, first);
    const { result } = agent.engine.state(operationIdOf(runId, "change-ranges")) as { result: unknown };
    expect(result).toMatchObject({
      disks: [{ source: { kind: "compare" } }, { source: { kind: "compare" } }],
    });
  });
});

describe("updated references", () => {
  test.each<[string, (set: { chain: readonly string[]; entries: readonly unknown[] }) => object]>([
    ["is not merged", (set) => ({ ...set, chain: ["b", "a"] })],
    ["lacks the new entry", (set) => ({ ...set, entries: [] })],
  ])("are doubted when the set %s; the undo keeps the previous ones", async (_name, spoil) => {
    await using folder = await temporaryFolder();
    const state = newState();
    {
      await using agent = startProcess({ folder: folder.path, host: fakeHost(state) });
      await backUp(agent.engine, newRunId(), undefined);
    }
    const before = [...state.references];
    const plain = fakeHost(state);
    const host = {
      ...plain,
      getVhdSetInformation: async (path: string) => {
        const set = await plain.getVhdSetInformation(path);
        return { ...set, ...spoil(set) };
      },
    };
    await using agent = startProcess({ folder: folder.path, host });
    const runId = newRunId();
    await operate(agent.engine, runId, "consistency-point", POINT_INPUT);
    const attempt = operate(agent.engine, runId, "update-references", {});
    await expect(attempt).rejects.toMatchObject({ code: "REFERENCE_UPDATE_UNPROVED" });
    await operate(agent.engine, runId, "undo", {});
    expect(state.references).toEqual(before);
  });
});

describe("the clean-up", () => {
  test("touches no reference point of another product", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    const foreign = {
      referencePointCollectionId: "x",
      tag: "another product",
      createdAt: new Date(),
      disks: [],
    };
    state.references.push(foreign);
    await using agent = startProcess({ folder: folder.path, host: fakeHost(state) });
    const { leftovers } = await backUp(agent.engine, newRunId(), undefined);
    expect(leftovers).toEqual([]);
    expect(state.references).toContain(foreign);
  });

  test("removes no reference point when the ones to keep are not there, and says what stays", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    await using agent = startProcess({ folder: folder.path, host: fakeHost(state) });
    const runId = newRunId();
    for (const { kind, input } of backupSteps(undefined))
      await operate(agent.engine, runId, kind, input as never);
    const { leftovers } = await operate(agent.engine, runId, "clean-up", {
      keep: [{ id: "gone", rctId: "gone" }],
    });
    expect(leftovers).toMatchObject([{ kind: "reference-point" }]);
    expect(state.references).toHaveLength(1);
  });

  test("reports what could not be removed", async () => {
    await using folder = await temporaryFolder();
    const state = newState();
    const host = fakeHost(state, (_index, name) =>
      name === "releaseStorageSnapshot" ? new BackupError("STORAGE_SNAPSHOT_FAILED", "busy") : "answer",
    );
    await using agent = startProcess({ folder: folder.path, host });
    const { leftovers } = await backUp(agent.engine, newRunId(), undefined);
    expect(leftovers).toMatchObject([{ kind: "storage-snapshot" }]);
  });
});
