import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { labelActions, type Action } from "../../lib/local-host/durable/actions.ts";
import { historyEvent, type HistoryEvent } from "../../lib/local-host/durable/events.ts";
import { OrchestratorFault } from "../../lib/local-host/durable/orchestrator-fault.ts";
import { Walker } from "../../lib/local-host/durable/walker.ts";

const START = Date.parse("2026-01-01T00:00:00Z");
const started = (atMs = START): HistoryEvent => historyEvent({ EventType: 12 }, atMs);
const begin = historyEvent({ EventType: 0, Name: "o", Input: null, Version: "" }, START);
const completed = (id: number, result: unknown = null): HistoryEvent =>
  historyEvent({ EventType: 5, TaskScheduledId: id, Result: JSON.stringify(result) }, START);
const failed = (id: number): HistoryEvent =>
  historyEvent({ EventType: 6, TaskScheduledId: id, Reason: "r", Details: "d" }, START);
const fired = (id: number): HistoryEvent => historyEvent({ EventType: 11, TimerId: id, FireAt: "" }, START);
const scheduled = (id: number, name: string): HistoryEvent =>
  historyEvent({ EventType: 4, Name: name, Input: "[null]" }, START, id);
const raised = (name: string, input: unknown = null): HistoryEvent =>
  historyEvent({ EventType: 15, Name: name, Input: JSON.stringify(input) }, START);

const activity = (functionName: string): Action => ({ actionType: 0, functionName });
const wait = (externalEventName: string): Action => ({ actionType: 6, externalEventName });
const timer = (fireAt: number, isCanceled = false): Action => ({ actionType: 5, fireAt, isCanceled });
const all = (...compoundActions: Action[]): Action => ({ actionType: 12, compoundActions });
const any = (...compoundActions: Action[]): Action => ({ actionType: 11, compoundActions });
const retried = (maxNumberOfAttempts: number, more: object = {}): Action => ({
  actionType: 1,
  functionName: "r",
  retryOptions: { firstRetryIntervalInMilliseconds: 100, maxNumberOfAttempts, ...more },
});

function walk(actions: readonly Action[], ...events: readonly HistoryEvent[]): Walker {
  const walker = new Walker(actions, labelActions(actions), 1000);
  for (const event of [started(), begin, ...events]) walker.apply(event);
  return walker;
}

const asked = (walker: Walker): string[] =>
  [...walker.decisions.values()].map(({ id, kind }) => `${id} ${kind}`);

describe("task ids are allotted as the SDK allots them", () => {
  test("one per task, in the order of a composite's parts, events taking none", () => {
    expect(asked(walk([all(activity("a"), wait("e"), any(activity("b"), timer(START + 5)))]))).toEqual([
      "0 activity",
      "1 activity",
      "2 timer",
    ]);
  });

  test("the next action starts only when the current one is finished", () => {
    const actions = [activity("a"), activity("b")];
    expect(asked(walk(actions))).toEqual(["0 activity"]);
    expect(asked(walk(actions, scheduled(0, "a"), completed(0)))).toEqual(["1 activity"]);
  });

  test("two attempts take ids 0 try, 1 timer, 2 try, 3 timer; only then the error surfaces", () => {
    const actions = [retried(2), activity("after")];
    expect(asked(walk(actions, failed(0)))).toEqual(["0 activity", "1 timer"]);
    expect(asked(walk(actions, failed(0), fired(1), failed(2)))).toEqual([
      "0 activity",
      "1 timer",
      "2 activity",
      "3 timer",
    ]);
    expect(walk(actions, failed(0), fired(1), failed(2)).isWaiting).toBe(true);
    expect(asked(walk(actions, failed(0), fired(1), failed(2), fired(3))).at(-1)).toBe("4 activity");
  });

  test("retries back off by the coefficient up to the longest interval", () => {
    const walker = walk(
      [retried(9, { backoffCoefficient: 3, maxRetryIntervalInMilliseconds: 500 })],
      failed(0),
      fired(1),
      failed(2),
      fired(3),
      failed(4),
    );
    const delays = [...walker.decisions.values()].flatMap((each) =>
      each.kind === "timer" ? [each.fireAt - START] : [],
    );
    expect(delays).toEqual([100, 300, 500]);
  });

  test("after the retry time is over further tries fail without being run", () => {
    const actions = [retried(3, { retryTimeoutInMilliseconds: 1000 })];
    const walker = walk(actions, started(START + 2000), failed(0), fired(1));
    expect(asked(walker)).toEqual(["0 activity", "1 timer", "2 expired"]);
    expect(walker.decisions.get(1)).toMatchObject({ fireAt: START + 2000 });
  });

  test("a timer beyond six days is armed again in steps of three", () => {
    const day = 86_400_000;
    const actions = [timer(START + 8 * day)];
    const first = walk(actions);
    expect(first.decisions.get(0)).toMatchObject({ fireAt: START + 3 * day });
    const second = walk(actions, started(START + 3 * day), fired(0));
    expect(second.decisions.get(1)).toMatchObject({ fireAt: START + 8 * day });
    expect(
      walk(actions, started(START + 3 * day), fired(0), started(START + 8 * day), fired(1)).isWaiting,
    ).toBe(false);
  });

  test("a 202 with a Location allots the timer and the next call at once, and polls the Location", () => {
    const request = { method: "POST", uri: "http://h/a", content: "x", asynchronousPatternEnabled: true };
    const answer = { statusCode: 202, content: "", headers: { Location: "/status", "Retry-After": "7" } };
    const walker = walk([{ actionType: 8, httpRequest: request }], completed(0, answer));
    expect(asked(walker)).toEqual(["0 http", "1 timer", "2 http"]);
    expect(walker.decisions.get(2)).toMatchObject({
      notBefore: START + 7000,
      request: { method: "GET", uri: "http://h/status" },
    });
    expect(
      walk(
        [{ actionType: 8, httpRequest: request }],
        completed(0, answer),
        fired(1),
        completed(2, { statusCode: 200, headers: {} }),
      ).isWaiting,
    ).toBe(false);
  });

  test("a signal takes one id, a release as many as entities were locked", () => {
    const lockSet = [
      { name: "E", key: "1" },
      { name: "E", key: "2" },
    ];
    const actions: Action[] = [
      { actionType: 9, instanceId: "@e@1", operation: "add" },
      { actionType: 13, lockRequestId: "guid", lockSet },
      { actionType: 14 },
      activity("after"),
    ];
    const sent = historyEvent(
      { EventType: 14, InstanceId: "@e@1", Name: "op", Input: '{"id":"guid"}' },
      START,
      1,
    );
    const walker = walk(actions, sent, raised("guid", {}));
    expect(asked(walker)).toEqual(["0 signal", "2 unlock", "3 unlock", "4 activity"]);
  });

  test("an entity call is answered under its request id, and an answer with an exception is a failure", () => {
    const actions: Action[] = [all({ actionType: 7, instanceId: "@e@1", operation: "get" }, activity("a"))];
    const sent = historyEvent(
      { EventType: 14, InstanceId: "@e@1", Name: "op", Input: '{"id":"q"}' },
      START,
      0,
    );
    expect(walk(actions, sent, raised("q", { result: "1" })).isWaiting).toBe(true);
    expect(walk(actions, sent, raised("q", { result: "1", exceptionType: "E" })).isWaiting).toBe(false);
  });
});

describe("waiting", () => {
  test("Task.all fails with its first failed part while the others stay open", () => {
    const walker = walk([all(activity("a"), activity("b"))], failed(0));
    expect([walker.isWaiting, [...walker.openKeys]]).toEqual([false, ["1"]]);
  });

  test("Task.any is finished by any part, also by one that failed", () => {
    expect(walk([any(activity("a"), wait("e"))], failed(0)).isWaiting).toBe(false);
    expect(walk([any(activity("a"), wait("e"))], raised("e")).isWaiting).toBe(false);
  });

  test("an event that comes before it is waited for is kept", () => {
    const actions = [activity("a"), wait("e"), activity("b")];
    expect(asked(walk(actions, raised("e"), completed(0))).at(-1)).toBe("1 activity");
    expect(walk([activity("a")], raised("x")).unclaimedEvents).toEqual(["x"]);
  });

  test("open activities and timers keep an execution from completing, cancelled timers and events do not", () => {
    expect(walk([any(activity("a"), timer(START + 9), wait("e"))], raised("e")).blocking).toBe(2);
    const cancelled = walk([any(timer(START + 9, true), wait("e"))], raised("e"));
    expect([cancelled.blocking, cancelled.cancelledTimers]).toEqual([0, [0]]);
  });

  test("the fewest completions to go: every part of an all, the cheapest part of an any", () => {
    expect(
      walk([all(activity("a"), activity("b"), any(activity("c"), all(activity("d"), activity("e"))))])
        .completionsToGo,
    ).toBe(3);
    expect(walk([all(activity("a"), activity("b"))], completed(1)).completionsToGo).toBe(1);
  });
});

describe("code that can't be run rightly", () => {
  const faultOf = (work: () => unknown): string => {
    try {
      work();
    } catch (error) {
      if (error instanceof OrchestratorFault) return error.message;
      throw error;
    }
    return "no fault";
  };

  test("history with another name at an id is refused", () => {
    expect(faultOf(() => walk([activity("a")], scheduled(0, "b")))).toMatch(/Non-deterministic/);
  });

  test("history with an id that the code has not asked for is refused", () => {
    expect(faultOf(() => walk([activity("a")], scheduled(0, "a"), scheduled(1, "b")))).toMatch(
      /Non-deterministic/,
    );
  });

  test("names have no case", () => {
    expect(faultOf(() => walk([activity("Work")], scheduled(0, "work")))).toBe("no fault");
  });

  test("a used task in another composite is followed by identity while nothing new is scheduled, and refused then", () => {
    const deadline = timer(START + 1000);
    const again = [any(wait("e"), deadline), any(wait("e"), deadline)];
    expect(asked(walk(again, raised("e")))).toEqual(["0 timer"]);
    expect(walk(again, raised("e"), started(START + 1000), fired(0)).isWaiting).toBe(false);
    expect(faultOf(() => walk([...again, activity("new")], raised("e"), raised("e")))).toMatch(
      /another Task\.any or Task\.all/,
    );
  });

  test("a composite of finished tasks is refused", () => {
    const done = activity("a");
    const walker = walk([done, all(done)], completed(0));
    expect(faultOf(() => walker.assertCanGoOn())).toMatch(/wait for ever/);
  });
});

test("whatever order a fan-out's results come in, it is finished by the last one", () => {
  const count = fc.integer({ min: 1, max: 12 });
  const order = count.chain((n) => fc.shuffledSubarray([...Array(n).keys()], { minLength: n }));
  fc.assert(
    fc.property(order, (ids) => {
      const walker = walk([all(...ids.map(() => activity("a")))]);
      ids.forEach((id, index) => {
        expect(walker.isWaiting).toBe(true);
        expect(walker.completionsToGo).toBe(ids.length - index);
        walker.apply(completed(id));
      });
      expect([walker.isWaiting, walker.blocking]).toEqual([false, 0]);
    }),
  );
});
