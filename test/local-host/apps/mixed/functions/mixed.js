/* global process, setTimeout */
// A workload for the kill test: fan-out, timers, entities, sub-orchestrations, retries, continue-as-new. ESM on purpose.
import { appendFileSync } from "node:fs";
import * as df from "durable-functions";

/** One line per run of an activity, synchronously on the disk's cache before the result is given. */
function note(line) {
  const file = process.env.ACTIVITY_LOG;
  if (file !== undefined) appendFileSync(file, `${line}\n`);
}

df.app.activity("work", {
  handler: async ({ key, value }, context) => {
    await new Promise((resolve) => setTimeout(resolve, value % 7));
    note(`${context.triggerMetadata.instanceId} ${key}`);
    return value;
  },
});
df.app.activity("flaky", {
  handler: ({ key, value }, context) => {
    note(`${context.triggerMetadata.instanceId} ${key}`);
    // Fails by chance of the process, so that the retry's ids differ from run to run.
    if (process.hrtime()[1] % 3 === 0) throw new Error("flaky");
    return value;
  },
});

df.app.entity("sum", (context) => {
  const current = context.df.getState(() => 0);
  if (context.df.operationName === "add") context.df.setState(current + context.df.getInput());
  else context.df.return(current);
});

df.app.orchestration("leaf", function* (context) {
  const n = context.df.getInput();
  yield context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 5 + (n % 20)));
  return yield context.df.callActivity("work", { key: "leaf", value: n });
});

df.app.orchestration("looping", function* (context) {
  const { left, sum } = context.df.getInput();
  if (left === 0) return sum;
  const next = yield context.df.callActivity("work", { key: `loop-${left}`, value: left });
  context.df.continueAsNew({ left: left - 1, sum: sum + next });
});

/** Expected: sum of 0..width-1, doubled by the leaves, and the same again through the entity. */
df.app.orchestration("mixed", function* (context) {
  const { width, tag } = context.df.getInput();
  const retry = new df.RetryOptions(2, 50);
  const entity = new df.EntityId("sum", tag);
  const tasks = [];
  for (let i = 0; i < width; i++) {
    tasks.push(context.df.callActivity("work", { key: `a${i}`, value: i }));
    if (i % 3 === 0) tasks.push(context.df.callActivityWithRetry("flaky", retry, { key: `f${i}`, value: 0 }));
    tasks.push(context.df.callSubOrchestrator("leaf", i));
  }
  tasks.push(context.df.callSubOrchestrator("looping", { left: 4, sum: 0 }));
  const results = yield context.df.Task.all(tasks);
  for (let i = 0; i < width; i++) context.df.signalEntity(entity, "add", i);
  const stored = yield context.df.callEntity(entity, "get");
  const timer = context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 60_000));
  const quick = context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 10));
  yield context.df.Task.any([timer, quick]);
  timer.cancel();
  const last = yield context.df.callActivity("work", { key: "last", value: 1 });
  return { sum: results.reduce((total, each) => total + each, 0), stored, last };
});
