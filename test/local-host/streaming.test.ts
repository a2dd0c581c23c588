import { expect, test } from "vitest";
import { startHost } from "../../lib/local-host/index.ts";
import { buildApp } from "./app-builder.ts";
import { temporaryDirectory } from "./harness.ts";

// A file of its own: the library takes its set-up once per process.
test("an app that switches HTTP streaming on is refused, and the library's port stays closed", async () => {
  await using app = await buildApp({
    "index.js": `const { app } = require("@azure/functions"); app.setup({ enableHttpStream: true }); app.get("s", () => ({}));`,
  });
  await using data = await temporaryDirectory();
  await expect(startHost({ appDirectory: app.path, dataDirectory: data.path })).rejects.toMatchObject({
    code: "HOST_APP_INVALID",
    message: expect.stringMatching(/HTTP streaming/) as string,
  });
});
