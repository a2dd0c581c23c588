import { describe, expect, test } from "vitest";
import { startHost, VirtualClock } from "../../lib/local-host/index.ts";
import { appDirectory, HostClient, temporaryDirectory, temporaryHost } from "./harness.ts";

const START = new Date("2026-03-01T00:00:00Z");
const DAY = 86_400_000;
const timerRuns = (): {
  isPastDue: boolean;
  scheduleStatus: { last: string | null; next: string } | null;
}[] => (globalThis as unknown as { timerRuns: never[] }).timerRuns;

describe("with a virtual clock", () => {
  test("a timer of three months passes at once, by the orchestrator's own clock", async () => {
    const clock = new VirtualClock({ startAt: START });
    await using running = await temporaryHost("basics", { clock });
    const { client, host } = running;
    const id = await client.start("timer", 90 * DAY);
    await clock.advance(89 * DAY, () => host.whenIdle());
    expect((await client.status(id)).runtimeStatus).toBe("Running");
    await clock.advance(DAY, () => host.whenIdle());
    expect(await client.status(id)).toMatchObject({ runtimeStatus: "Completed", output: 90 * DAY });
  });

  test("with autoAdvance nobody needs to move it", async () => {
    const clock = new VirtualClock({ startAt: START, autoAdvance: true });
    await using running = await temporaryHost("basics", {
      clock,
      env: { "AzureWebJobs.nightly.Disabled": "true" },
    });
    expect((await running.client.run("timer", 365 * DAY)).output).toBe(365 * DAY);
    expect(clock.now()).toBe(START.getTime() + 365 * DAY);
  });

  test("with autoAdvance timer triggers and the purge do not keep the clock running, but fire on the way", async () => {
    const clock = new VirtualClock({ startAt: START, autoAdvance: true });
    await using running = await temporaryHost("basics", { clock, purgeAfterMs: 400 * DAY });
    timerRuns().length = 0;
    await running.host.whenIdle();
    expect(clock.now()).toBe(START.getTime());
    expect((await running.client.run("timer", 10 * DAY)).output).toBe(10 * DAY);
    await running.host.whenIdle();
    expect([clock.now() - START.getTime(), timerRuns().length]).toEqual([10 * DAY, 10]);
  });

  test("a timer that was cancelled does not stop the clock on its way to the next one", async () => {
    const clock = new VirtualClock({ startAt: START, autoAdvance: true });
    await using running = await temporaryHost("basics", { clock });
    const { client } = running;
    const long = await client.start("timer", 20 * DAY);
    expect((await client.until(long)).output).toBe(20 * DAY);
    expect((await client.run("approval", 5 * DAY)).output).toBe("timed out");
    expect((await client.run("timer", DAY)).output).toBe(DAY);
  });

  test("a nightly function runs once a night, in the given time zone, with the last and the next run told", async () => {
    const clock = new VirtualClock({ startAt: START });
    await using running = await temporaryHost("basics", {
      clock,
      env: { WEBSITE_TIME_ZONE: "Europe/Berlin" },
    });
    timerRuns().length = 0;
    await clock.advance(30 * DAY, () => running.host.whenIdle());
    expect(timerRuns()).toHaveLength(30);
    expect(timerRuns()[1]?.scheduleStatus).toMatchObject({
      last: "2026-03-01T01:30:00.000Z",
      next: "2026-03-03T01:30:00.000Z",
    });
    // 29 March: the clocks go forward over 02:30, which then does not exist; the run is not lost.
    expect(timerRuns().every(({ isPastDue }) => !isPastDue)).toBe(true);
  });

  test("a run that was missed while the host was down is made up for once, and marked past due", async () => {
    await using data = await temporaryDirectory();
    const options = { appDirectory: appDirectory("basics"), dataDirectory: data.path };
    const first = await startHost({ ...options, clock: new VirtualClock({ startAt: START }) });
    await first.close();
    timerRuns().length = 0;
    const later = new VirtualClock({ startAt: new Date(START.getTime() + 5 * DAY) });
    await using second = await startHost({ ...options, clock: later });
    await second.whenIdle();
    expect(timerRuns().map(({ isPastDue }) => isPastDue)).toEqual([true]);
  });

  test("a waiting orchestration outlives the host: its timer fires after the restart", async () => {
    await using data = await temporaryDirectory();
    const options = { appDirectory: appDirectory("basics"), dataDirectory: data.path };
    const first = await startHost({ ...options, clock: new VirtualClock({ startAt: START }) });
    const id = await HostClient.of(first).start("timer", 10 * DAY);
    await first.close();
    const clock = new VirtualClock({ startAt: new Date(START.getTime() + 20 * DAY) });
    await using second = await startHost({ ...options, clock });
    expect((await HostClient.of(second).until(id)).output).toBe(20 * DAY);
  });

  test("finished instances are removed when the policy's time is over, others stay", async () => {
    const clock = new VirtualClock({ startAt: START });
    await using running = await temporaryHost("basics", { clock, purgeAfterMs: 7 * DAY });
    const { client, host } = running;
    const done = await client.start("helloSequence");
    await client.until(done);
    const waiting = await client.start("statusTeller");
    await clock.advance(6 * DAY, () => host.whenIdle());
    expect((await client.status(done)).runtimeStatus).toBe("Completed");
    await clock.advance(2 * DAY, () => host.whenIdle());
    expect((await client.manage(`instances/${done}`)).status).toBe(404);
    expect((await client.status(waiting)).runtimeStatus).toBe("Running");
  });

  test("the same program gives the same history, instant by instant", async () => {
    const histories: unknown[] = [];
    for (let round = 0; round < 2; round++) {
      const clock = new VirtualClock({ startAt: START, autoAdvance: true });
      await using running = await temporaryHost("basics", {
        clock,
        env: { "AzureWebJobs.nightly.Disabled": "true" },
      });
      const { instanceId } = await running.client.run("monitor", { key: `same-${round}`, times: 3 });
      const { historyEvents = [] } = await running.client.status(instanceId, "?showHistory=true");
      histories.push(historyEvents.map(({ EventType, Timestamp }) => [EventType, Timestamp]));
    }
    expect(histories[0]).toEqual(histories[1]);
  });
});

test("a timer function is run by hand through the admin API", async () => {
  await using running = await temporaryHost("basics");
  const { host } = running;
  timerRuns().length = 0;
  const headers = { "x-functions-key": host.keys?.master ?? "", "content-type": "application/json" };
  const response = await fetch(`${host.url}/admin/functions/nightly`, {
    method: "POST",
    headers,
    body: '{"input":""}',
  });
  expect(response.status).toBe(202);
  await host.whenIdle();
  expect(timerRuns()).toHaveLength(1);
  expect((await fetch(`${host.url}/admin/functions/helloSequence`, { method: "POST", headers })).status).toBe(
    400,
  );
  expect((await fetch(`${host.url}/admin/functions/nobody`, { method: "POST", headers })).status).toBe(404);
  expect(await (await fetch(`${host.url}/admin/host/status`, { headers })).json()).toMatchObject({
    state: "Running",
  });
});
