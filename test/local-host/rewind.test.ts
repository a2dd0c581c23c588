import { describe, expect, test } from "vitest";
import { historyEvent, type EventBody, type HistoryEvent } from "../../lib/local-host/durable/events.ts";
import { withoutFailures } from "../../lib/local-host/durable/rewind.ts";
import { temporaryHost } from "./harness.ts";

const event = (body: EventBody, id = -1): HistoryEvent => historyEvent(body, 0, id);
const scheduled = (id: number): HistoryEvent => event({ EventType: 4, Name: "a", Input: "[null]" }, id);
const completed = (id: number): HistoryEvent => event({ EventType: 5, TaskScheduledId: id, Result: "1" });
const failed = (id: number): HistoryEvent =>
  event({ EventType: 6, TaskScheduledId: id, Reason: "r", Details: "d" });
const timer = (id: number): HistoryEvent => event({ EventType: 10, FireAt: "" }, id);
const fired = (id: number): HistoryEvent => event({ EventType: 11, TimerId: id, FireAt: "" });
const child = (id: number): HistoryEvent =>
  event({ EventType: 7, Name: "c", InstanceId: "child", Input: null }, id);
const childFailed = (id: number): HistoryEvent =>
  event({ EventType: 9, TaskScheduledId: id, Reason: "r", Details: "d" });
const over = event({ EventType: 1, Result: null, OrchestrationStatus: "Failed" });
const any = (): boolean => true;

describe("what a rewind keeps of a failed history", () => {
  test("the failed task goes, its completed siblings and everything before stay", () => {
    const events = [scheduled(0), completed(0), scheduled(1), scheduled(2), failed(1), completed(2), over];
    expect(withoutFailures(events, any, any).kept).toEqual([
      scheduled(0),
      completed(0),
      scheduled(2),
      completed(2),
    ]);
  });

  test("all tries of a retried task go with their timers", () => {
    const events = [
      scheduled(0),
      failed(0),
      timer(1),
      fired(1),
      scheduled(2),
      failed(2),
      timer(3),
      fired(3),
      over,
    ];
    expect(withoutFailures(events, any, any).kept).toEqual([]);
  });

  test("what the code did about the failure goes", () => {
    const events = [scheduled(0), failed(0), scheduled(1), completed(1), over];
    expect(withoutFailures(events, any, any).kept).toEqual([]);
  });

  test("a failure that was dealt with before stays", () => {
    const events = [scheduled(0), failed(0), scheduled(1), completed(1), scheduled(2), failed(2), over];
    expect(withoutFailures(events, (id) => id === 2, any).kept).toEqual(events.slice(0, 4));
  });

  test("a failed sub-orchestration that is still there goes on itself; one that was purged is started again", () => {
    const events = [child(0), childFailed(0), over];
    expect(withoutFailures(events, any, any)).toEqual({ kept: [child(0)], failedChildren: ["child"] });
    expect(withoutFailures(events, any, () => false)).toEqual({ kept: [], failedChildren: [] });
  });
});

test("a rewind does not repeat work that came before the failure, nor a failure that the code dealt with", async () => {
  await using running = await temporaryHost("basics");
  const { client } = running;
  const id = await client.start("handlesThenFails", "rewound");
  expect((await client.until(id)).runtimeStatus).toBe("Failed");
  await client.client("rewind", id, "again");
  expect(await client.until(id, ["Completed"])).toMatchObject({ output: ["handled", "rewound done"] });
  const runs = (globalThis as unknown as { activityRuns: string[] }).activityRuns;
  expect(runs.filter((text) => text === "rewound")).toHaveLength(1);
});
