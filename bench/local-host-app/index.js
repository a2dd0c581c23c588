/* global performance */
import * as df from "durable-functions";

globalThis.firstActivityAt = new Map();

df.app.activity("nothing", { handler: (input) => input });
df.app.activity("mark", {
  handler: (id) => {
    globalThis.firstActivityAt.set(id, performance.now());
  },
});
df.app.orchestration("sequence", function* (context) {
  for (let i = 0; i < context.df.getInput(); i++) yield context.df.callActivity("nothing", i);
});
df.app.orchestration("fanOut", function* (context) {
  const tasks = Array.from({ length: context.df.getInput() }, (_, i) =>
    context.df.callActivity("nothing", i),
  );
  yield context.df.Task.all(tasks);
});
df.app.orchestration("marking", function* (context) {
  yield context.df.callActivity("mark", context.df.getInput());
});
df.app.orchestration("grows", function* (context) {
  for (let i = 0; i < context.df.getInput(); i++) yield context.df.callActivity("nothing", i);
  context.df.setCustomStatus("grown");
  for (;;) yield context.df.waitForExternalEvent("again");
});
