import { beforeAll, describe, expect, test } from "vitest";
import { operationIdOf, type OperationResult, type RunId } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import {
  backUp,
  backupSteps,
  CLUSTER,
  ended,
  newRunId,
  newState,
  operate,
  startProcess,
  temporaryFolder,
  type AgentProcess,
  type Previous,
} from "./bench.ts";
import { fakeHost, type Fate, type HostState } from "./fake-host.ts";

/*
 * A second backup, cut or failing at every single call to the host. The first backup's reference points must survive whatever
 * happens until the second one is committed, and nothing else may be left on the host.
 */

const MINUTE = 60_000;

/** A host with one committed backup, and the journal of the agent that made it. */
async function afterFirstBackup(
  folder: string,
): Promise<{ readonly state: HostState; readonly previous: Previous }> {
  const state = newState();
  await using agent = startProcess({ folder, host: fakeHost(state) });
  return { state, previous: await backUp(agent.engine, newRunId(), undefined) };
}

type Outcome = "committed" | "undone";

/** The control plane: asks for one step after the other, undoes when one fails; `died` ends it as it ends its agent. */
async function drive(
  agent: AgentProcess,
  runId: RunId,
  previous: Previous,
  died: Promise<void>,
): Promise<Outcome | "died"> {
  const work = async (): Promise<Outcome> => {
    try {
      for (const { kind, input } of backupSteps(previous))
        await operate(agent.engine, runId, kind, input as never);
    } catch {
      agent.engine.undo(runId, CLUSTER);
      const state = await ended(agent.engine, operationIdOf(runId, "undo"));
      expect(state).toMatchObject({ state: "succeeded", result: { leftovers: [] } });
      return "undone";
    }
    const { result } = agent.engine.state(operationIdOf(runId, "update-references")) as { result: unknown };
    const { disks } = result as OperationResult<"update-references">;
    const keep = disks.map(({ referencePoint }) => referencePoint);
    const { leftovers } = await operate(agent.engine, runId, "clean-up", { keep });
    expect(leftovers).toEqual([]);
    return "committed";
  };
  return Promise.race([work(), died.then(() => "died" as const)]);
}

function expectNothingLeft(state: HostState, expected: readonly string[]): void {
  expect(state.checkpoints).toEqual([]);
  expect(state.storageSnapshots).toEqual([]);
  expect(state.references.map(({ tag }) => tag).sort()).toEqual([...expected].sort());
}

let callsOfBackup: readonly string[] = [];
beforeAll(async () => {
  await using folder = await temporaryFolder();
  const { state, previous } = await afterFirstBackup(folder.path);
  const host = fakeHost(state);
  await using agent = startProcess({ folder: folder.path, host });
  await drive(agent, newRunId(), previous, host.died);
  callsOfBackup = host.calls;
});

/** Every call of a backup, one test for all: a test that names its call when it fails. */
async function forEveryCall(act: (index: number, name: string) => Promise<void>): Promise<void> {
  expect(callsOfBackup.length).toBeGreaterThan(20);
  for (const [index, name] of callsOfBackup.entries()) {
    try {
      await act(index, name);
    } catch (error) {
      throw new Error(`at call ${index} (${name}): ${String(error)}`, { cause: error });
    }
  }
}

const at =
  (index: number, fate: Fate) =>
  (call: number): Fate =>
    call === index ? fate : "answer";

describe.each(["die-before", "die-after"] as const)(
  "an agent that is killed (%s the effect) at any host call",
  (fate) => {
    test("goes on after its restart when the control plane asks again, and leaves nothing", async () => {
      await forEveryCall(async (index) => {
        await using folder = await temporaryFolder();
        const { state, previous } = await afterFirstBackup(folder.path);
        const [before] = state.references.map(({ tag }) => tag);
        const runId = newRunId();
        const dying = fakeHost(state, at(index, fate));
        const killed = startProcess({ folder: folder.path, host: dying });
        expect(await drive(killed, runId, previous, dying.died)).toBe("died");

        const host = fakeHost(state);
        await using agent = startProcess({ folder: folder.path, host });
        agent.engine.resume();
        const outcome = await drive(agent, runId, previous, host.died);
        expectNothingLeft(state, [outcome === "committed" ? runId : before!]);
        // A crash alone is no reason to give a run up.
        expect(outcome).toBe("committed");
        killed.journal[Symbol.dispose]();
      });
    });

    test("undoes the run by itself when the control plane never comes back", async () => {
      await forEveryCall(async (index) => {
        await using folder = await temporaryFolder();
        const { state, previous } = await afterFirstBackup(folder.path);
        const [before] = state.references.map(({ tag }) => tag);
        const runId = newRunId();
        const dying = fakeHost(state, at(index, fate));
        const killed = startProcess({ folder: folder.path, host: dying });
        expect(await drive(killed, runId, previous, dying.died)).toBe("died");
        const isShipped = killed.journal.operation(operationIdOf(runId, "ship"))?.state === "succeeded";
        const isCommitted = killed.journal.operation(operationIdOf(runId, "clean-up")) !== undefined;

        const clock = () => new Date(Date.now() + 31 * MINUTE);
        await using agent = startProcess({ folder: folder.path, host: fakeHost(state), clock });
        agent.engine.resume();
        if (agent.journal.operation(operationIdOf(runId, "undo")) !== undefined) {
          expect(await ended(agent.engine, operationIdOf(runId, "undo"))).toMatchObject({
            state: "succeeded",
          });
        }
        expect(agent.journal.run(runId)?.ended_at).toEqual(expect.any(String));
        // Once everything is shipped the restore point may exist, and its reference points are then the base of the next run.
        const tags = state.references.map(({ tag }) => tag);
        if (isShipped) expect(tags).toContain(runId);
        else expect(tags).toEqual([before]);
        if (!isCommitted) expect(tags).toContain(before);
        expectNothingLeft(state, tags);
        killed.journal[Symbol.dispose]();
      });
    });
  },
);

test("a host call that fails ends the run committed or undone, with nothing left and a reference to go on from", async () => {
  await forEveryCall(async (index) => {
    await using folder = await temporaryFolder();
    const { state, previous } = await afterFirstBackup(folder.path);
    const [before] = state.references.map(({ tag }) => tag);
    const host = fakeHost(state, at(index, new BackupError("HYPERV_CALL_FAILED", "injected")));
    await using agent = startProcess({ folder: folder.path, host });
    const runId = newRunId();
    let outcome: Outcome | "died" | "clean-up failed";
    try {
      outcome = await drive(agent, runId, previous, host.died);
    } catch {
      outcome = "clean-up failed";
    }
    const tags = state.references.map(({ tag }) => tag);
    if (outcome === "undone") expectNothingLeft(state, [before!]);
    else expect(tags).toContain(runId);
    // Whatever a failed clean-up left is taken by the next undo or clean-up.
    agent.engine.undo(runId, CLUSTER);
    await ended(agent.engine, operationIdOf(runId, "undo"));
    expect(state).toMatchObject({ checkpoints: [], storageSnapshots: [] });
  });
});

test.each(["createRecoveryCheckpoint", "createStorageSnapshot"])(
  "an effect of %s that the host finishes only after the agent's restart is found and removed",
  async (verb) => {
    await using folder = await temporaryFolder();
    const { state, previous } = await afterFirstBackup(folder.path);
    const before = [...state.references];
    const runId = newRunId();
    const dying = fakeHost(state, (_index, name) => (name === verb ? "die-before" : "answer"));
    const killed = startProcess({ folder: folder.path, host: dying });
    expect(await drive(killed, runId, previous, dying.died)).toBe("died");

    const plain = fakeHost(state);
    let looks = 0;
    const late = async <T>(find: () => Promise<T>, appear: () => Promise<unknown>): Promise<T> => {
      if (++looks === 5) await appear();
      return find();
    };
    const checkpoint = { collectionId: "c", tag: runId, consistency: "application", deadlineMs: 1 } as const;
    const host: typeof plain = {
      ...plain,
      ...(verb === "createRecoveryCheckpoint"
        ? {
            findRecoveryCheckpoints: (vmIds) =>
              late(
                () => plain.findRecoveryCheckpoints(vmIds),
                () => plain.createRecoveryCheckpoint(checkpoint),
              ),
          }
        : {
            findStorageSnapshots: () =>
              late(
                () => plain.findStorageSnapshots(),
                () => plain.createStorageSnapshot({ tag: runId, paths: [] }),
              ),
          }),
    };
    await using agent = startProcess({ folder: folder.path, host });
    agent.engine.undo(runId, CLUSTER);
    agent.engine.resume();
    const undone = await ended(agent.engine, operationIdOf(runId, "undo"));
    expect(undone).toMatchObject({ state: "succeeded", result: { leftovers: [] } });
    expect(looks).toBeGreaterThanOrEqual(5);
    expect(state).toMatchObject({ checkpoints: [], storageSnapshots: [], references: before });
    killed.journal[Symbol.dispose]();
  },
);
