/* global require, setImmediate */
/* eslint-disable require-yield, no-unused-vars -- the traps are orchestrators as people get them wrong */
// The rest of what the conformance table needs.
const df = require("durable-functions");

df.app.activity("add", { handler: ({ a, b }) => a + b });
df.app.activity("failOnce", {
  handler: (key) => {
    globalThis.failedOnce ??= new Set();
    if (!globalThis.failedOnce.has(key)) {
      globalThis.failedOnce.add(key);
      throw new Error(`${key} fails the first time`);
    }
    return `${key} done`;
  },
});
df.app.activity("metadata", {
  handler: (_input, context) => ({ instanceId: context.triggerMetadata.instanceId }),
});
df.app.activity("typedFailure", {
  handler: () => {
    throw Object.assign(new RangeError("too far"), { code: "E_FAR", facts: { km: 7 } });
  },
});
df.app.setExceptionPropertiesProvider({
  getExceptionProperties: (error) =>
    error.code === undefined ? undefined : { code: error.code, facts: error.facts },
});
df.app.orchestration("typedError", function* (context) {
  try {
    yield context.df.callActivity("typedFailure");
    return "no error";
  } catch (error) {
    const { failureDetails } = error;
    return {
      type: failureDetails.errorType,
      message: failureDetails.errorMessage,
      properties: failureDetails.properties,
      isRange: failureDetails.isCausedBy("RangeError"),
    };
  }
});
df.app.orchestration("typedErrorParent", function* (context) {
  try {
    yield context.df.callSubOrchestrator("typedErrorThrough");
    return "no error";
  } catch (error) {
    return { properties: error.failureDetails?.properties };
  }
});
df.app.orchestration("typedErrorThrough", function* (context) {
  yield context.df.callActivity("typedFailure");
});

df.app.orchestration("metadataTeller", function* (context) {
  return yield context.df.callActivity("metadata");
});

df.app.orchestration("anyOfActivities", function* (context) {
  const fast = context.df.callActivity("slow", { ms: 5, value: "fast" });
  const slow = context.df.callActivity("slow", { ms: 60, value: "slow" });
  const winner = yield context.df.Task.any([slow, fast]);
  return winner.result;
});
df.app.orchestration("nested", function* (context) {
  const pair = (n) =>
    context.df.Task.all([context.df.callActivity("double", n), context.df.callActivity("double", n + 1)]);
  const all = yield context.df.Task.all([
    pair(1),
    pair(3),
    context.df.Task.any([context.df.callActivity("double", 9)]),
  ]);
  return [all[0], all[1], all[2].result];
});
df.app.orchestration("allFailsFast", function* (context) {
  try {
    yield context.df.Task.all([
      context.df.callActivity("fail", "one"),
      context.df.callActivity("slow", { ms: 30, value: 1 }),
    ]);
    return "no error";
  } catch (error) {
    return error.message.split(" \n")[0];
  }
});
df.app.orchestration("retriesInParallel", function* (context) {
  const key = context.df.instanceId;
  const retry = new df.RetryOptions(3, 5);
  const tasks = [1, 2, 3].map((n) =>
    context.df.callActivityWithRetry("failTimes", retry, { key: `${key}-${n}`, times: n }),
  );
  tasks.push(context.df.callActivity("double", 100));
  const counts = yield context.df.Task.all(tasks);
  return [...counts, yield context.df.callActivity("double", 1)];
});
df.app.orchestration("subWithRetry", function* (context) {
  const retry = new df.RetryOptions(3, 3);
  const value = yield context.df.callSubOrchestratorWithRetry("failingOnce", retry, context.df.instanceId);
  return [value, yield context.df.callActivity("double", 2)];
});
df.app.orchestration("failingOnce", function* (context) {
  return yield context.df.callActivity("failOnce", context.df.getInput());
});
df.app.orchestration("retryTimeout", function* (context) {
  const retry = new df.RetryOptions(20, 6);
  retry.retryTimeoutInMilliseconds = 30;
  try {
    yield context.df.callActivityWithRetry("failTimes", retry, { key: context.df.instanceId, times: 100 });
    return "no error";
  } catch (error) {
    return error.message.split(" \n")[0];
  }
});
df.app.orchestration("typedTasks", function* (context) {
  return yield double4(4).withRetry(new df.RetryOptions(1, 2));
});
const double4 = df.app.activity("doubleTyped", { handler: (n) => n * 2 });

df.app.orchestration("phoneVerification", function* (context) {
  yield context.df.callActivity("echo", "sms");
  const timeout = context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 60_000));
  let authorized = false;
  for (let i = 0; i < 3; i++) {
    const answer = context.df.waitForExternalEvent("SmsChallengeResponse");
    const winner = yield context.df.Task.any([answer, timeout]);
    if (winner !== answer) break;
    if (answer.result === 42) {
      authorized = true;
      break;
    }
  }
  if (!timeout.isCompleted) timeout.cancel();
  return authorized;
});
df.app.orchestration("monitor", function* (context) {
  const { key, times } = context.df.getInput();
  const expiresAt = context.df.currentUtcDateTime.getTime() + 3600_000;
  while (context.df.currentUtcDateTime.getTime() < expiresAt) {
    try {
      yield context.df.callActivity("failTimes", { key, times });
      return "clear";
    } catch {
      yield context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 10));
    }
  }
  return "expired";
});
df.app.orchestration("openTimer", function* (context) {
  const timeout = context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 300));
  const answer = context.df.waitForExternalEvent("go");
  yield context.df.Task.any([answer, timeout]);
  return "done";
});
df.app.orchestration("twoWaits", function* (context) {
  const first = context.df.waitForExternalEvent("same");
  const second = context.df.waitForExternalEvent("same");
  yield context.df.Task.all([first, second]);
  return [first.result, second.result];
});
df.app.orchestration("eternalWithEvents", function* (context) {
  const seen = context.df.getInput() ?? [];
  if (seen.length === 3) return seen;
  const next = yield context.df.waitForExternalEvent("item");
  context.df.continueAsNew([...seen, next]);
});
df.app.orchestration("stringAgain", function* (context) {
  if (context.df.getInput() === "again") return "was again";
  context.df.continueAsNew("again");
});
df.app.orchestration("guids", function* (context) {
  const before = [context.df.newGuid("a"), context.df.newGuid("a")];
  yield context.df.callActivity("double", 1);
  return { before, unique: new Set(before).size };
});
df.app.orchestration("versionTeller", function* (context) {
  yield context.df.callActivity("double", 1);
  return context.df.version ?? "";
});
df.app.orchestration("replayTeller", function* (context) {
  const seen = [];
  seen.push(context.df.isReplaying);
  yield context.df.callActivity("double", 1);
  seen.push(context.df.isReplaying);
  yield context.df.callActivity("double", 2);
  seen.push(context.df.isReplaying);
  return seen;
});
df.app.orchestration("timeTeller", function* (context) {
  const times = [context.df.currentUtcDateTime.toISOString()];
  yield context.df.callActivity("slow", { ms: 20, value: 1 });
  times.push(context.df.currentUtcDateTime.toISOString());
  return times;
});
df.app.orchestration("httpCaller", function* (context) {
  const answer = yield context.df.callHttp(context.df.getInput());
  const after = yield context.df.callActivity("double", 6);
  return { status: answer.statusCode, content: answer.content, after };
});
df.app.orchestration("rewindable", function* (context) {
  const key = context.df.getInput();
  const first = yield context.df.callActivity("double", 1);
  const [a, b] = yield context.df.Task.all([
    context.df.callActivity("double", 2),
    context.df.callActivity("failOnce", key),
  ]);
  const sub = yield context.df.callSubOrchestrator("failingOnce", `${key}-sub`);
  return [first, a, b, sub];
});
df.app.orchestration("entityErrors", function* (context) {
  try {
    yield context.df.callEntity(new df.EntityId("counter", "errors"), "no such operation");
    return "no error";
  } catch (error) {
    return error instanceof Error;
  }
});
df.app.orchestration("entityMissing", function* (context) {
  try {
    yield context.df.callEntity(new df.EntityId("nobody", "x"), "get");
    return "no error";
  } catch (error) {
    return "failed";
  }
});
df.app.orchestration("lockedAndSlow", function* (context) {
  const id = new df.EntityId("counter", context.df.getInput());
  const lock = yield context.df.lock(id);
  const before = yield context.df.callEntity(id, "get");
  yield context.df.callActivity("slow", { ms: 40, value: 1 });
  yield context.df.callEntity(id, "add", 1);
  const after = yield context.df.callEntity(id, "get");
  lock.release();
  return after - before;
});
df.app.orchestration("lockAndDie", function* (context) {
  yield context.df.lock(new df.EntityId("counter", context.df.getInput()));
  throw new Error("died in the critical section");
});
df.app.orchestration("handlesThenFails", function* (context) {
  let first = "no error";
  try {
    yield context.df.callActivityWithRetry("fail", new df.RetryOptions(1, 2), "first");
  } catch {
    first = "handled";
  }
  yield context.df.callActivity("record", context.df.getInput());
  try {
    return [first, yield context.df.callActivity("failOnce", context.df.getInput())];
  } catch (error) {
    yield context.df.callActivity("double", 1);
    throw error;
  }
});
df.app.activity("readsCounter", {
  extraInputs: [df.input.durableClient()],
  handler: async (key, context) => {
    const { entityExists } = await df.getClient(context).readEntityState(new df.EntityId("counter", key));
    return entityExists;
  },
});
df.app.orchestration("activityWithClient", function* (context) {
  const { key } = context.df.getInput();
  yield context.df.callEntity(new df.EntityId("counter", key), "add", 1);
  return yield context.df.callActivity("readsCounter", key);
});
df.app.orchestration("lockAndWait", function* (context) {
  const id = new df.EntityId("counter", context.df.getInput());
  const lock = yield context.df.lock(id);
  context.df.setCustomStatus("locked");
  yield context.df.waitForExternalEvent("go");
  yield context.df.callEntity(id, "add", 5);
  const value = yield context.df.callEntity(id, "get");
  lock.release();
  return value;
});
df.app.orchestration("lockAndContinue", function* (context) {
  const { key, left } = context.df.getInput();
  if (left === 0) return "done";
  yield context.df.lock(new df.EntityId("counter", key));
  context.df.continueAsNew({ key, left: left - 1 });
});
df.app.orchestration("mixedGathering", function* (context) {
  const n = context.df.getInput();
  const retry = new df.RetryOptions(2, 3);
  const tasks = [];
  for (let i = 0; i < n; i++) {
    if (i % 3 === 0) tasks.push(context.df.callActivity("double", i));
    else if (i % 3 === 1)
      tasks.push(
        context.df.callActivityWithRetry("failTimes", retry, {
          key: `${context.df.instanceId}/${i}`,
          times: i % 2,
        }),
      );
    else tasks.push(context.df.callSubOrchestrator("child", { n: i }));
  }
  const results = yield context.df.Task.all(tasks);
  return results.length;
});

// Traps: each must end as a failed instance with a clear message.
df.app.orchestration("trapEmptyError", function* () {
  throw new Error("");
});
df.app.orchestration("trapThrowsText", function* () {
  throw "text";
});
df.app.orchestration("trapAsyncGenerator", async function* (context) {
  yield context.df.callActivity("double", 1);
});
df.app.orchestration("trapAsyncFunction", async (context) => {
  await new Promise((resolve) => setImmediate(resolve));
  return context.df.instanceId;
});
df.app.orchestration("trapReusedTask", function* (context) {
  const a = context.df.callActivity("slow", { ms: 1, value: 1 });
  const b = context.df.callActivity("slow", { ms: 30, value: 2 });
  yield context.df.Task.any([a, b]);
  const c = context.df.callActivity("slow", { ms: 30, value: 3 });
  yield context.df.Task.any([b, c]);
  return yield context.df.callActivity("double", 10);
});
df.app.orchestration("trapFinishedComposite", function* (context) {
  const a = context.df.callActivity("double", 1);
  yield a;
  yield context.df.Task.all([a]);
  return "unreachable";
});
df.app.orchestration("trapNonDeterministic", function* (context) {
  globalThis.flip = (globalThis.flip ?? 0) + 1;
  yield context.df.callActivity(globalThis.flip % 2 === 1 ? "double" : "echo", 1);
  yield context.df.callActivity("double", 2);
  return "unreachable";
});
df.app.orchestration("trapYieldsNothing", function* (context) {
  yield context.df.signalEntity(new df.EntityId("counter", "x"), "add", 1);
  return "unreachable";
});
df.app.orchestration("unknownActivity", function* (context) {
  yield context.df.callActivity("doesNotExist", 1);
});
df.app.orchestration("undefinedResults", function* (context) {
  const nothing = yield context.df.callActivity("record", "x");
  return { nothing: nothing ?? "nullish", bytes: yield context.df.callActivity("bytesBack") };
});
df.app.activity("bytesBack", { handler: () => new Uint8Array([1, 2, 3]) });
