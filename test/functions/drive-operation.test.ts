import type { OrchestrationContext } from "durable-functions";
import { expect, test } from "vitest";
import { driveOperation } from "../../functions/orchestrators/drive-operation.ts";
import { failure } from "./drive-orchestrator.ts";

const start = {
  clusterId: "sql",
  runId: "20261123t020000z-0a1b2c3d",
  agentId: "host-1",
  kind: "ship",
  input: { base: [] },
};
const now = new Date("2026-11-23T02:00:00Z");
const minutesAgo = (minutes: number) => new Date(now.getTime() - minutes * 60_000).toISOString();

/** One round: what it did before it ended or continued as new. */
function round(input: unknown, answer: unknown) {
  const timers: Date[] = [];
  const asked: unknown[] = [];
  let next: unknown;
  const df = {
    getInput: () => input,
    currentUtcDateTime: now,
    setCustomStatus: () => undefined,
    createTimer: (at: Date) => timers.push(at),
    continueAsNew: (given: unknown) => (next = given),
    callActivityWithRetry: (_name: string, _retry: unknown, given: unknown) => asked.push(given),
  };
  const generator = driveOperation({ df } as unknown as OrchestrationContext);
  let step = generator.next();
  while (!step.done) step = generator.next({ ok: true, value: answer });
  return { output: step.value, next, asked, pausesMs: timers.map((at) => at.getTime() - now.getTime()) };
}

const state = { operationId: `${start.runId}.ship`, kind: "ship", runId: start.runId, clusterId: "sql" };
const times = { startedAt: "2026-11-23T01:59:00.000Z", endedAt: "2026-11-23T02:00:00.000Z" };

test("a finished operation hands its result on as it is", () => {
  const ended = { kind: "ended", state: { ...state, ...times, state: "succeeded", result: { disks: [] } } };
  expect(round(start, ended)).toMatchObject({ output: { ok: true, result: { disks: [] } }, next: undefined });
});

test("a failed operation hands its error on as a value, with its code", () => {
  const ended = { kind: "ended", state: { ...state, ...times, state: "failed", error: failure("ship") } };
  expect(round(start, ended).output).toEqual({ ok: false, error: failure("ship") });
});

test("a running operation continues as new with the same request, so the history stays short", () => {
  const { next, output, pausesMs } = round(start, { kind: "running" });
  expect(output).toBeUndefined();
  expect(next).toMatchObject({ ...start, firstAskedAt: now.toISOString() });
  expect(pausesMs).toEqual([]);
});

test("an operation that has run for long is looked at every half minute, without holding an activity", () => {
  const { asked, pausesMs } = round({ ...start, firstAskedAt: minutesAgo(30) }, { kind: "running" });
  expect(asked).toMatchObject([{ waitMs: 0 }]);
  expect(pausesMs).toEqual([30_000]);
});

const silent = { kind: "unreachable", error: failure("relay") };

test("a silent agent is asked again after growing pauses, and the time of silence is carried on", () => {
  const first = round(start, silent);
  expect(first.pausesMs).toEqual([2_000]);
  expect(first.next).toMatchObject({ silentSince: now.toISOString(), silentAttempts: 1 });
  const third = round({ ...start, silentSince: minutesAgo(1), silentAttempts: 2 }, silent);
  expect(third.pausesMs).toEqual([8_000]);
});

test("an agent that answers again starts with a clean slate", () => {
  const { next } = round({ ...start, silentSince: minutesAgo(10), silentAttempts: 9 }, { kind: "running" });
  expect(next).not.toHaveProperty("silentSince");
});

test("an agent that stays silent ends the operation with AGENT_SILENT, naming the agent", () => {
  const { output } = round({ ...start, silentSince: minutesAgo(21) }, silent);
  expect(output).toMatchObject({ ok: false, error: { code: "AGENT_SILENT", facts: { agentId: "host-1" } } });
});

test("a refusal of the agent ends the operation at once", () => {
  const { output } = round(start, { kind: "refused", error: failure("signature") });
  expect(output).toEqual({ ok: false, error: failure("signature") });
});
