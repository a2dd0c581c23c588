import { expect } from "vitest";
import type { HostClient } from "../harness.ts";
import type { Row } from "./row.ts";

/** A row that runs one orchestration and looks at its output. */
function outputOf(area: string, rule: string, name: string, input: unknown, expected: unknown): Row {
  return {
    area,
    rule,
    async run(client) {
      const { runtimeStatus, output } = await client.run(name, input);
      expect({ runtimeStatus, output }).toEqual({ runtimeStatus: "Completed", output: expected });
    },
  };
}

/** A row for a known trap of the SDK: the instance fails, and the message says what to do. */
function trap(rule: string, name: string, message: RegExp): Row {
  return {
    area: "traps",
    rule,
    embeddedOnly: "stricter here",
    async run(client) {
      const { runtimeStatus, output } = await client.run(name);
      expect(runtimeStatus).toBe("Failed");
      expect(output).toMatch(message);
    },
  };
}

async function balance(client: HostClient, key: string): Promise<unknown> {
  const response = await client.manage(`entities/counter/${key}`);
  return response.status === 404 ? undefined : response.json();
}

async function eventually(check: () => Promise<void>): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await check();
      return;
    } catch (error) {
      if (tries > 400) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

export const durableRows: readonly Row[] = [
  outputOf("activities", "a sequence gives every result to the next step", "helloSequence", undefined, [
    "Hello, Tokyo!",
    "Hello, Seattle!",
    "Hello, Cairo!",
  ]),
  {
    area: "activities",
    rule: "every JSON value passes unchanged as input of an orchestration, through an activity and back",
    async run(client) {
      for (const value of [
        "text",
        "",
        "12",
        '{"a":1}',
        0,
        -1.5,
        true,
        false,
        null,
        [],
        [1, ["2"]],
        { a: { b: null } },
      ]) {
        const { output } = await client.run("echoInput", value);
        const { input, echoed } = output as { input: unknown; echoed: unknown };
        expect(input).toEqual(value);
        // A text that is JSON is read as JSON by the library, as on Azure; the input is passed on encoded, so it stays.
        expect(echoed).toEqual(value);
      }
    },
  },
  {
    area: "activities",
    rule: "an activity without a result gives null or undefined; bytes arrive as base64",
    async run(client) {
      const { output } = await client.run("undefinedResults");
      expect(output).toEqual({ nothing: "nullish", bytes: "AQID" });
    },
  },
  {
    area: "activities",
    rule: "the activity's context names the instance that called it",
    async run(client) {
      const status = await client.run("metadataTeller");
      expect(status.output).toEqual({ instanceId: status.instanceId });
    },
  },
  outputOf(
    "activities",
    "fan-out and fan-in sums what a hundred activities gave",
    "fanOutFanIn",
    { count: 100 },
    9900,
  ),
  outputOf("activities", "Task.any is won by the task that ends first", "anyOfActivities", undefined, "fast"),
  outputOf("activities", "composites nest", "nested", undefined, [[2, 4], [6, 8], 18]),
  outputOf(
    "activities",
    "Task.all fails with the first failed task",
    "allFailsFast",
    undefined,
    "Activity function 'fail' failed: one",
  ),
  {
    area: "activities",
    rule: "an activity can use the durable client",
    async run(client, unique) {
      expect((await client.run("activityWithClient", { key: unique })).output).toBe(true);
    },
  },
  outputOf("activities", "a typed task with retry runs like a named one", "typedTasks", undefined, 8),
  {
    area: "retries",
    rule: "a retried activity succeeds within its attempts, and the ids after it still fit",
    async run(client, unique) {
      const { output } = await client.run("retrying", { key: unique, times: 2, attempts: 3 });
      expect(output).toEqual({ got: 3, after: 10 });
    },
  },
  {
    area: "retries",
    rule: "the last error surfaces after the last attempt, and the ids after it still fit",
    async run(client) {
      const { output } = await client.run("catching");
      const { message, after } = output as { message: string; after: number };
      expect(message).toContain("Activity function 'fail' failed: always");
      expect(after).toBe(8);
    },
  },
  outputOf(
    "retries",
    "retries of parallel tasks interleave without mixing results",
    "retriesInParallel",
    undefined,
    [2, 3, 4, 200, 2],
  ),
  {
    area: "retries",
    rule: "a sub-orchestration with retry is started again",
    async run(client) {
      const status = await client.run("subWithRetry");
      expect(status.output).toEqual([`${status.instanceId} done`, 4]);
    },
  },
  {
    area: "retries",
    rule: "after retryTimeoutInMilliseconds no further attempt is run, and the last error surfaces",
    embeddedOnly: "the SDK's own counting goes on there",
    async run(client) {
      const { output } = await client.run("retryTimeout");
      expect(output).toMatch(/^Activity function 'failTimes' failed: attempt [1-4] fails$/);
    },
  },
  {
    area: "failures",
    rule: "an unhandled activity error fails the instance with the activity's name and message",
    async run(client) {
      const { runtimeStatus, output } = await client.run("unhandled");
      expect(runtimeStatus).toBe("Failed");
      expect(output).toContain("Activity function 'fail' failed: boom");
    },
  },
  outputOf(
    "failures",
    "with an exception properties provider the orchestrator sees type, message and properties",
    "typedError",
    undefined,
    {
      type: "RangeError",
      message: "too far",
      properties: { code: "E_FAR", facts: { km: 7 } },
      isRange: true,
    },
  ),
  outputOf(
    "failures",
    "typed properties travel through a sub-orchestration to its parent",
    "typedErrorParent",
    undefined,
    {
      properties: { code: "E_FAR", facts: { km: 7 } },
    },
  ),
  {
    area: "failures",
    rule: "an activity that does not exist fails its task with a message",
    async run(client) {
      const { runtimeStatus, output } = await client.run("unknownActivity");
      expect(runtimeStatus).toBe("Failed");
      expect(output).toContain("doesNotExist");
    },
  },
  {
    area: "sub-orchestrations",
    rule: "a parent gets its children's results; a child has the id that was given, else one of its own",
    async run(client) {
      const status = await client.run("parent");
      expect(status.output).toEqual({ doubled: 42, parent: true, namedId: `${status.instanceId}-named` });
    },
  },
  {
    area: "sub-orchestrations",
    rule: "a child's failure reaches the parent as an error with the child's message",
    async run(client) {
      expect((await client.run("parentOfFailing")).output).toContain("child broke");
    },
  },
  {
    area: "timers",
    rule: "a timer holds the orchestrator until its instant, by the orchestrator's own clock",
    async run(client) {
      const { output } = await client.run("timer", 60);
      expect(output).toBeGreaterThanOrEqual(60);
    },
  },
  {
    area: "timers",
    rule: "a timer that is neither cancelled nor awaited keeps the instance running until it fires",
    async run(client) {
      const id = await client.start("openTimer");
      await client.client("raiseEvent", id, "go", 1);
      const status = await client.until(id);
      const history = (await client.status(id, "?showHistory=true")).historyEvents ?? [];
      expect(status.output).toBe("done");
      expect(history.map((event) => event["EventType"])).toContain("TimerFired");
    },
  },
  {
    area: "timers",
    rule: "a cancelled timer does not keep the instance running",
    async run(client) {
      const id = await client.start("approval", 3_600_000);
      await client.client("raiseEvent", id, "Approval", true);
      expect((await client.until(id)).output).toBe("approved");
    },
  },
  {
    area: "external events",
    rule: "a race of event and timer is won by the timer when no event comes",
    async run(client) {
      expect((await client.run("approval", 30)).output).toBe("timed out");
    },
  },
  {
    area: "external events",
    rule: "events that come early are kept until they are waited for",
    async run(client) {
      const id = await client.start("events");
      await client.client("raiseEvent", id, "B", { second: true });
      await client.client("raiseEvent", id, "A", "first");
      expect((await client.until(id)).output).toEqual(["first", { second: true }]);
    },
  },
  {
    area: "external events",
    rule: "two waits on one name are served newest first",
    async run(client) {
      const id = await client.start("twoWaits");
      await client.until(id, ["Running"]);
      await client.client("raiseEvent", id, "same", 1);
      await client.client("raiseEvent", id, "same", 2);
      expect((await client.until(id)).output).toEqual([2, 1]);
    },
  },
  {
    area: "external events",
    rule: "the phone verification pattern runs, though it puts one timer into several Task.any",
    async run(client) {
      const id = await client.start("phoneVerification");
      await client.until(id, ["Running"]);
      await client.client("raiseEvent", id, "SmsChallengeResponse", 1);
      await client.client("raiseEvent", id, "SmsChallengeResponse", 42);
      expect((await client.until(id)).output).toBe(true);
    },
  },
  {
    area: "eternal orchestrations",
    rule: "continue-as-new begins anew with the given input and keeps the id",
    async run(client) {
      const { output, input } = await client.run("eternal", { left: 5, sum: 0 });
      expect([output, input]).toEqual([30, { left: 0, sum: 30 }]);
    },
  },
  {
    area: "eternal orchestrations",
    rule: "events that arrive around continue-as-new reach the next execution",
    async run(client) {
      const id = await client.start("eternalWithEvents");
      for (const item of ["a", "b", "c"]) {
        const before = (await client.status(id)).input as string[] | null;
        await client.client("raiseEvent", id, "item", item);
        await eventually(async () => {
          expect(((await client.status(id)).input as string[] | null) ?? []).toHaveLength(
            (before ?? []).length + 1,
          );
        });
      }
      expect((await client.until(id)).output).toEqual(["a", "b", "c"]);
    },
  },
  {
    area: "eternal orchestrations",
    rule: "a text given to continue-as-new arrives as that text",
    embeddedOnly: "unconfirmed there",
    async run(client) {
      expect((await client.run("stringAgain")).output).toBe("was again");
    },
  },
  {
    area: "monitors",
    rule: "a monitor polls with timers until its condition holds",
    async run(client, unique) {
      expect((await client.run("monitor", { key: unique, times: 2 })).output).toBe("clear");
    },
  },
  {
    area: "replay",
    rule: "isReplaying is true for what has been run before and false for what is new",
    async run(client) {
      expect((await client.run("replayTeller")).output).toEqual([true, true, false]);
    },
  },
  {
    area: "replay",
    rule: "currentUtcDateTime is the same in every replay and moves with the episodes",
    async run(client) {
      const [first, second] = (await client.run("timeTeller")).output as [string, string];
      expect(Date.parse(second)).toBeGreaterThanOrEqual(Date.parse(first) + 15);
    },
  },
  {
    area: "entities",
    rule: "signals and calls of one orchestration reach an entity in order",
    async run(client, unique) {
      expect((await client.run("counting", { key: unique, times: 7 })).output).toBe(7);
    },
  },
  {
    area: "entities",
    rule: "the client signals an entity and reads its state; one that does not exist reads as such",
    async run(client, unique) {
      expect(await client.client("readEntityState", { entity: { name: "Counter", key: unique } })).toEqual({
        entityExists: false,
      });
      await client.client("signalEntity", { entity: { name: "counter", key: unique } }, "add", 3);
      await client.client("signalEntity", { entity: { name: "counter", key: unique } }, "add", 4);
      await eventually(async () => {
        expect(await client.client("readEntityState", { entity: { name: "counter", key: unique } })).toEqual({
          entityExists: true,
          entityState: 7,
        });
      });
    },
  },
  {
    area: "entities",
    rule: "an entity signals another one, and ends its own existence",
    async run(client, unique) {
      const entity = { entity: { name: "counter", key: unique } };
      await client.client("signalEntity", entity, "tell", { key: `${unique}-other`, amount: 5 });
      await eventually(async () => {
        expect(await balance(client, `${unique}-other`)).toBe(5);
      });
      await client.client("signalEntity", entity, "add", 1);
      await client.client("signalEntity", entity, "delete");
      await eventually(async () => {
        expect(await balance(client, unique)).toBeUndefined();
      });
    },
  },
  outputOf("entities", "an operation that throws fails the call", "entityErrors", undefined, true),
  outputOf(
    "entities",
    "a call to an entity that the app does not have fails",
    "entityMissing",
    undefined,
    "failed",
  ),
  {
    area: "entity locks",
    rule: "a critical section sees no other orchestration's change of the locked entity",
    embeddedOnly: "needs extension 3.13",
    async run(client, unique) {
      const ids = await Promise.all([1, 2, 3, 4].map(() => client.start("lockedAndSlow", unique)));
      const outputs = await Promise.all(ids.map(async (id) => (await client.until(id)).output));
      expect(outputs).toEqual([1, 1, 1, 1]);
      expect(await balance(client, unique)).toBe(4);
    },
  },
  {
    area: "entity locks",
    rule: "two entities are locked at once, and ids after the release still fit",
    embeddedOnly: "needs extension 3.13",
    async run(client, unique) {
      const { output } = await client.run("transfer", { from: `${unique}a`, to: `${unique}b`, amount: 3 });
      expect(output).toEqual({ balance: 0, other: 2, after: -3 });
      expect(await balance(client, `${unique}b`)).toBe(3);
    },
  },
  {
    area: "entity locks",
    rule: "an orchestration that ends inside its critical section gives the lock back",
    embeddedOnly: "needs extension 3.13",
    async run(client, unique) {
      expect((await client.run("lockAndDie", unique)).runtimeStatus).toBe("Failed");
      expect((await client.run("lockedAndSlow", unique)).output).toBe(1);
    },
  },
  {
    area: "entity locks",
    rule: "what others send to a locked entity waits, however much it is, and is done after the release",
    embeddedOnly: "needs extension 3.13",
    async run(client, unique) {
      const id = await client.start("lockAndWait", unique);
      for (;;) if ((await client.status(id)).customStatus === "locked") break;
      const signals = Array.from({ length: 300 }, () =>
        client.manage(`entities/counter/${unique}?op=add`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: "1",
        }),
      );
      await Promise.all(signals);
      expect(await balance(client, unique)).toBeUndefined();
      await client.client("raiseEvent", id, "go", 1);
      expect((await client.until(id)).output).toBe(5);
      await eventually(async () => {
        expect(await balance(client, unique)).toBe(305);
      });
    },
  },
  {
    area: "entity locks",
    rule: "continue-as-new gives a lock back",
    embeddedOnly: "needs extension 3.13",
    async run(client, unique) {
      expect((await client.run("lockAndContinue", { key: unique, left: 2 })).output).toBe("done");
      expect((await client.run("lockedAndSlow", unique)).output).toBe(1);
    },
  },
  trap("an error without a message fails the instance", "trapEmptyError", /without a message/),
  trap("a thrown text fails the instance", "trapThrowsText", /without a message/),
  trap("an async generator fails the instance", "trapAsyncGenerator", /plain generator/),
  trap("an async function fails the instance", "trapAsyncFunction", /plain generator/),
  trap(
    "a task in a second composite followed by new work fails the instance",
    "trapReusedTask",
    /another Task\.any or Task\.all/,
  ),
  trap("a composite of finished tasks fails the instance", "trapFinishedComposite", /wait for ever/),
  trap(
    "code that asks for something else at replay fails the instance",
    "trapNonDeterministic",
    /Non-deterministic/,
  ),
  trap("yielding what is no task fails the instance", "trapYieldsNothing", /yielded data of type undefined/),
];
