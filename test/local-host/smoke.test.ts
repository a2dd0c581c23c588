import { expect, test } from "vitest";
import { temporaryHost } from "./harness.ts";

test("an app of the v4 model is loaded, answers HTTP and runs an orchestration", async () => {
  await using running = await temporaryHost("basics");
  const { client, host } = running;
  expect(host.functions.map(({ name }) => name)).toContain("helloSequence");
  const { runtimeStatus, output } = await client.run("helloSequence");
  expect([runtimeStatus, output]).toEqual([
    "Completed",
    ["Hello, Tokyo!", "Hello, Seattle!", "Hello, Cairo!"],
  ]);
});
