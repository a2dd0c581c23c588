import { expect, test } from "vitest";
import { startHost } from "../../lib/local-host/index.ts";
import { buildApp } from "./app-builder.ts";
import { HostClient, temporaryDirectory } from "./harness.ts";

const CODE = `
const { app } = require("@azure/functions");
const df = require("durable-functions");
const seen = (globalThis.seen = []);

app.hook.appStart(() => { seen.push("appStart"); });
app.hook.appTerminate(() => { seen.push("appTerminate"); });
app.hook.preInvocation((hook) => {
  if (hook.invocationContext.functionName !== "hooked") return;
  hook.hookData.began = true;
  const handler = hook.functionHandler;
  hook.functionHandler = async (...args) => ({ body: "wrapped " + (await handler(...args)).body });
});
app.hook.postInvocation((hook) => {
  if (hook.invocationContext.functionName === "hooked" && hook.hookData.began) hook.result = { body: hook.result.body + " after" };
  if (hook.invocationContext.functionName === "mended") { hook.error = undefined; hook.result = { body: "mended" }; }
});
app.get("hooked", () => ({ body: "inner" }));
app.get("mended", () => { throw new Error("broken"); });

app.timer("atStart", { schedule: "0 0 0 1 1 *", runOnStartup: true, handler: () => { seen.push("atStart"); } });
let tries = 0;
app.timer("retried", {
  schedule: "0 0 0 1 1 *",
  runOnStartup: true,
  retry: { strategy: "fixedDelay", delayInterval: 0, maxRetryCount: 2 },
  handler: (_timer, context) => {
    seen.push("try " + (context.retryContext?.retryCount ?? 0));
    if (++tries < 3) throw new Error("not yet");
  },
});

df.app.activity("endless", { handler: () => new Promise(() => {}) });
df.app.orchestration("timesOut", function* (context) {
  try { yield context.df.callActivity("endless"); } catch (error) { return error.message; }
});
`;

test("hooks wrap functions, runOnStartup and retry policies are kept, and functionTimeout fails an activity", async () => {
  await using app = await buildApp({
    "index.js": CODE,
    "host.json": JSON.stringify({ functionTimeout: "00:00:01" }),
  });
  await using data = await temporaryDirectory();
  const host = await startHost({ appDirectory: app.path, dataDirectory: data.path, graceMs: 100 });
  const { seen } = globalThis as unknown as { seen: string[] };
  try {
    await host.whenIdle();
    expect(seen).toEqual(expect.arrayContaining(["appStart", "atStart", "try 0", "try 1", "try 2"]));
    expect(seen[0]).toBe("appStart");
    expect(await (await fetch(`${host.url}/api/hooked`)).text()).toBe("wrapped inner after");
    expect(await (await fetch(`${host.url}/api/mended`)).text()).toBe("mended");
    const client = HostClient.of(host);
    await client.manage("orchestrators/timesOut/late", { method: "POST" });
    expect((await client.until("late")).output).toMatch(
      /Timeout value of 1000 ms exceeded by function 'endless'/,
    );
  } finally {
    await host.close();
  }
  expect(seen.at(-1)).toBe("appTerminate");
});
