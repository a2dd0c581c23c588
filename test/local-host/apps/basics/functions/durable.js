/* global require, setTimeout */
// Orchestrators, activities and entities in the manner of the public durable-functions samples (v4 model, CommonJS).
const df = require("durable-functions");

const runs = [];
globalThis.activityRuns = runs;

df.app.activity("sayHello", { handler: (name) => `Hello, ${name}!` });
df.app.activity("echo", { handler: (input) => input });
df.app.activity("double", { handler: (n) => n * 2 });
df.app.activity("record", {
  handler: (text) => {
    runs.push(text);
  },
});
df.app.activity("slow", {
  handler: async ({ ms, value }) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return value;
  },
});

const attempts = new Map();
df.app.activity("failTimes", {
  handler: ({ key, times }) => {
    const count = (attempts.get(key) ?? 0) + 1;
    attempts.set(key, count);
    if (count <= times) throw new Error(`attempt ${count} fails`);
    return count;
  },
});
df.app.activity("fail", {
  handler: (message) => {
    throw new Error(message);
  },
});

df.app.orchestration("helloSequence", function* (context) {
  const outputs = [];
  outputs.push(yield context.df.callActivity("sayHello", "Tokyo"));
  outputs.push(yield context.df.callActivity("sayHello", "Seattle"));
  outputs.push(yield context.df.callActivity("sayHello", "Cairo"));
  return outputs;
});

df.app.orchestration("fanOutFanIn", function* (context) {
  const { count, ms } = context.df.getInput();
  const tasks = [];
  for (let i = 0; i < count; i++) {
    tasks.push(
      ms === undefined
        ? context.df.callActivity("double", i)
        : context.df.callActivity("slow", { ms, value: i * 2 }),
    );
  }
  const results = yield context.df.Task.all(tasks);
  return results.reduce((sum, each) => sum + each, 0);
});

df.app.orchestration("echoInput", function* (context) {
  return {
    input: context.df.getInput(),
    echoed: yield context.df.callActivity("echo", context.df.getInput()),
  };
});

df.app.orchestration("child", function* (context) {
  const input = context.df.getInput();
  if (input?.fail !== undefined) throw new Error(input.fail);
  return {
    doubled: yield context.df.callActivity("double", input.n),
    parent: context.df.parentInstanceId !== undefined,
    id: context.df.instanceId,
  };
});
df.app.orchestration("parent", function* (context) {
  const first = yield context.df.callSubOrchestrator("child", { n: 21 });
  const named = yield context.df.callSubOrchestrator("child", { n: 1 }, `${context.df.instanceId}-named`);
  return { doubled: first.doubled, parent: first.parent, namedId: named.id };
});
df.app.orchestration("parentOfFailing", function* (context) {
  try {
    yield context.df.callSubOrchestrator("child", { fail: "child broke" });
    return "no error";
  } catch (error) {
    return error.message;
  }
});

df.app.orchestration("retrying", function* (context) {
  const { key, times, attempts: max, delayMs } = context.df.getInput();
  const retry = new df.RetryOptions(delayMs ?? 5, max);
  retry.backoffCoefficient = 2;
  const got = yield context.df.callActivityWithRetry("failTimes", retry, { key, times });
  const after = yield context.df.callActivity("double", 5);
  return { got, after };
});
df.app.orchestration("catching", function* (context) {
  const retry = new df.RetryOptions(1, 2);
  try {
    yield context.df.callActivityWithRetry("fail", retry, "always");
    return "no error";
  } catch (error) {
    const after = yield context.df.callActivity("double", 4);
    return { message: error.message, after };
  }
});
df.app.orchestration("unhandled", function* (context) {
  yield context.df.callActivity("fail", "boom");
});

df.app.orchestration("timer", function* (context) {
  const ms = context.df.getInput();
  const start = context.df.currentUtcDateTime.getTime();
  yield context.df.createTimer(new Date(start + ms));
  return context.df.currentUtcDateTime.getTime() - start;
});

df.app.orchestration("approval", function* (context) {
  const deadline = new Date(context.df.currentUtcDateTime.getTime() + context.df.getInput());
  const timeout = context.df.createTimer(deadline);
  const approval = context.df.waitForExternalEvent("Approval");
  const winner = yield context.df.Task.any([approval, timeout]);
  if (winner !== approval) return "timed out";
  timeout.cancel();
  return (yield context.df.callActivity("echo", approval.result)) ? "approved" : "rejected";
});

df.app.orchestration("events", function* (context) {
  yield context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 50));
  const a = yield context.df.waitForExternalEvent("A");
  const b = yield context.df.waitForExternalEvent("B");
  return [a, b];
});

df.app.orchestration("eternal", function* (context) {
  const { left, sum } = context.df.getInput();
  if (left === 0) return sum;
  const next = yield context.df.callActivity("double", left);
  context.df.continueAsNew({ left: left - 1, sum: sum + next });
});

df.app.orchestration("statusTeller", function* (context) {
  context.df.setCustomStatus({ step: "waiting" });
  yield context.df.waitForExternalEvent("go");
  context.df.setCustomStatus({ step: "done" });
  return "ok";
});

df.app.entity("counter", function (context) {
  const current = context.df.getState(() => 0);
  switch (context.df.operationName) {
    case "add":
      context.df.setState(current + context.df.getInput());
      break;
    case "get":
      context.df.return(current);
      break;
    case "reset":
      context.df.setState(0);
      break;
    case "delete":
      context.df.destructOnExit();
      break;
    case "tell":
      context.df.signalEntity(
        new df.EntityId("counter", context.df.getInput().key),
        "add",
        context.df.getInput().amount,
      );
      break;
    default:
      throw new Error("unknown operation");
  }
});
df.app.orchestration("counting", function* (context) {
  const id = new df.EntityId("counter", context.df.getInput().key);
  for (let i = 0; i < context.df.getInput().times; i++) context.df.signalEntity(id, "add", 1);
  return yield context.df.callEntity(id, "get");
});
df.app.orchestration("transfer", function* (context) {
  const { from, to, amount } = context.df.getInput();
  const source = new df.EntityId("counter", from);
  const target = new df.EntityId("counter", to);
  const lock = yield context.df.lock(source, target);
  const balance = yield context.df.callEntity(source, "get");
  const other = yield context.df.callActivity("double", 1);
  yield context.df.callEntity(source, "add", -amount);
  yield context.df.callEntity(target, "add", amount);
  lock.release();
  return { balance, other, after: yield context.df.callEntity(source, "get") };
});
