/* global require, setTimeout */
// Interprets random programs: steps in sequence, each a tree of tasks. Every task gives a number, its value by rule known.
const df = require("durable-functions");

const failures = new Map();
df.app.activity("give", {
  handler: async ({ value, ms }) => {
    if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
    return value;
  },
});
df.app.activity("flaky", {
  handler: ({ key, value, times }) => {
    const count = (failures.get(key) ?? 0) + 1;
    failures.set(key, count);
    if (count <= times) throw new Error("not yet");
    return value;
  },
});
df.app.entity("adder", (context) => {
  const state = context.df.getState(() => 0) + context.df.getInput();
  context.df.setState(state);
  context.df.return(context.df.getInput());
});

const retry = () => new df.RetryOptions(3, 20);

function task(context, node, path) {
  const { df: durable } = context;
  switch (node.kind) {
    case "give":
      return durable.callActivity("give", node);
    case "flaky":
      return durable.callActivityWithRetry("flaky", retry(), {
        ...node,
        key: `${durable.instanceId}${path}`,
      });
    case "failing":
      return durable.callActivityWithRetry("flaky", new df.RetryOptions(1, node.tries), {
        key: `${durable.instanceId}${path}`,
        times: 1000,
      });
    case "sub":
      return durable.callSubOrchestrator("program", node.program);
    case "flakySub":
      return durable.callSubOrchestratorWithRetry("flakyProgram", retry(), {
        key: `${durable.instanceId}${path}`,
        value: node.value,
      });
    case "entity":
      return durable.callEntity(new df.EntityId("adder", durable.instanceId), "add", node.value);
    case "timer":
      return durable.createTimer(new Date(durable.currentUtcDateTime.getTime() + node.ms));
    case "all":
      return durable.Task.all(node.parts.map((part, index) => task(context, part, `${path}/${index}`)));
    case "any":
      return durable.Task.any(node.parts.map((part, index) => task(context, part, `${path}/${index}`)));
  }
}

/** The number that a finished task stands for. */
function valueOf(node, result) {
  switch (node.kind) {
    case "all":
      return node.parts.reduce((sum, part, index) => sum + valueOf(part, result[index]), 0);
    case "any":
    case "timer":
      return node.value ?? 0;
    default:
      return result;
  }
}

df.app.orchestration("program", function* (context) {
  let total = 0;
  const steps = context.df.getInput();
  for (let index = 0; index < steps.length; index++) {
    const step = steps[index];
    if (step.kind === "signal") {
      context.df.signalEntity(new df.EntityId("adder", "signals"), "add", step.value);
      continue;
    }
    try {
      const result = yield task(context, step, `/${index}`);
      total += valueOf(step, result);
    } catch {
      total += 1000;
    }
  }
  return total;
});
df.app.orchestration("flakyProgram", function* (context) {
  const { key, value } = context.df.getInput();
  return yield context.df.callActivity("flaky", { key, value, times: 1 });
});
