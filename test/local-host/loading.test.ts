import { writeFile } from "node:fs/promises";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import { startHost, type LogEntry } from "../../lib/local-host/index.ts";
import { buildApp } from "./app-builder.ts";
import { temporaryDirectory } from "./harness.ts";

const hello = (name: string): string =>
  `const { app } = require("@azure/functions"); app.http("${name}", { methods: ["GET"], handler: () => ({ body: "${name} " + (process.env.COLOUR ?? "") }) });`;

async function startApp(
  files: Readonly<Record<string, string>>,
  more: { env?: Record<string, string>; log?: (entry: LogEntry) => void } = {},
) {
  const stack = new AsyncDisposableStack();
  const app = stack.use(await buildApp(files));
  const data = stack.use(await temporaryDirectory());
  try {
    const host = stack.use(await startHost({ appDirectory: app.path, dataDirectory: data.path, ...more }));
    return Object.assign(stack, { host });
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

describe("loading", () => {
  test("main is a glob; ESM, CommonJS and TypeScript files of one app register together", async () => {
    await using started = await startApp({
      "package.json": JSON.stringify({ main: "dist/{index.js,functions/*.{js,mjs,ts}}", type: "commonjs" }),
      "dist/index.js": "globalThis.indexLoaded = true;",
      "dist/functions/a.js": hello("fromCommonJs"),
      "dist/functions/b.mjs": `import { app } from "@azure/functions"; app.get("fromEsm", () => ({ body: "esm" }));`,
      "dist/functions/c.ts": `const { app } = require("@azure/functions"); const text: string = "ts"; app.get("fromTs", () => ({ body: text }));`,
      "dist/functions/notes.txt": "not code",
    });
    const { host } = started;
    expect(host.functions.map(({ name }) => name).sort()).toEqual(["fromCommonJs", "fromEsm", "fromTs"]);
    expect(await (await fetch(`${host.url}/api/fromEsm`)).text()).toBe("esm");
    expect(await (await fetch(`${host.url}/api/fromTs`)).text()).toBe("ts");
  });

  test("settings come from the caller, then the environment, then local.settings.json", async () => {
    const files = {
      "index.js": hello("colour"),
      "local.settings.json": JSON.stringify({ Values: { COLOUR: "blue" } }),
    };
    await using plain = await startApp(files);
    expect(await (await fetch(`${plain.host.url}/api/colour`)).text()).toBe("colour blue");
    await plain.host.close();
    await using given = await startApp(files, { env: { COLOUR: "red" } });
    expect(await (await fetch(`${given.host.url}/api/colour`)).text()).toBe("colour red");
    await given.host.close();
    expect(process.env["COLOUR"]).toBeUndefined();
  });

  test("%NAME% in schedules, routes and host.json is the setting of that name", async () => {
    const code = `const { app } = require("@azure/functions");
      app.timer("timed", { schedule: "%SCHEDULE%", handler: () => {} });
      app.get("routed", { route: "%PLACE%/x", handler: () => ({ body: "there" }) });`;
    await using started = await startApp({
      "index.js": code,
      "local.settings.json": JSON.stringify({
        Values: { SCHEDULE: "0 0 3 * * *", PLACE: "here", HUB: "MyHub" },
      }),
      "host.json": JSON.stringify({ extensions: { durableTask: { hubName: "%HUB%" } } }),
    });
    expect(await (await fetch(`${started.host.url}/api/here/x`)).text()).toBe("there");
    expect((await fetch(started.host.managementUrl("instances?taskHub=MyHub"))).status).toBe(200);
    expect((await fetch(started.host.managementUrl("instances?taskHub=Other"))).status).toBe(400);
  });

  test("host.json sets the route prefix, and a setting overrides it", async () => {
    const files = {
      "index.js": hello("prefixed"),
      "host.json": JSON.stringify({ version: "2.0", extensions: { http: { routePrefix: "" } } }),
    };
    await using bare = await startApp(files);
    expect((await fetch(`${bare.host.url}/prefixed`)).status).toBe(200);
    await using overridden = await startApp(files, {
      env: { AzureFunctionsJobHost__extensions__http__routePrefix: "v2" },
    });
    expect((await fetch(`${overridden.host.url}/v2/prefixed`)).status).toBe(200);
  });

  test("a function that a setting disables is not served, and the log says so", async () => {
    const lines: string[] = [];
    await using started = await startApp(
      { "index.js": hello("off") },
      { env: { "AzureWebJobs.off.Disabled": "true" }, log: ({ message }) => lines.push(message) },
    );
    expect((await fetch(`${started.host.url}/api/off`)).status).toBe(404);
    expect(lines.join("\n")).toMatch(/'off' is disabled/);
  });

  test("triggers and outputs that this host does not have are named in the log", async () => {
    const lines: string[] = [];
    const code = `const { app, output } = require("@azure/functions");
      app.storageQueue("fromQueue", { queueName: "q", connection: "C", handler: () => {} });
      app.get("toBlob", { extraOutputs: [output.storageBlob({ path: "p", connection: "C" })], handler: () => ({}) });`;
    await using started = await startApp({ "index.js": code }, { log: ({ message }) => lines.push(message) });
    expect(started.host.functions).toHaveLength(2);
    expect(lines.join("\n")).toMatch(
      /'fromQueue' is not run[\s\S]*'toBlob' gives to its blob output is dropped/,
    );
  });

  test.each([
    ["main names no file", { "package.json": '{"main":"dist/*.js"}' }, /No file matches/],
    [
      "an entry point throws",
      { "index.js": 'throw new Error("broken file")' },
      /index\.js failed to load: broken file/,
    ],
    ["nothing is registered", { "index.js": "" }, /No function was registered/],
    [
      "two functions have one name",
      {
        "index.js":
          hello("twice") +
          hello("Twice").replace("const { app }", "const { app: app }").replace("const", "var"),
      },
      /failed to load/,
    ],
    ["host.json is no JSON", { "index.js": hello("x"), "host.json": "{" }, /host\.json is not valid JSON/],
    [
      "host.json has a wrong value",
      {
        "index.js": hello("x"),
        "host.json": '{"extensions":{"durableTask":{"versionMatchStrategy":"Newest"}}}',
      },
      /versionMatchStrategy/,
    ],
    [
      "a setting is missing",
      {
        "index.js": hello("x"),
        "host.json": '{"extensions":{"durableTask":{"hubName":"%NO_SUCH_SETTING%"}}}',
      },
      /"NO_SUCH_SETTING", which is not set/,
    ],
    [
      "a schedule can't be read",
      { "index.js": 'require("@azure/functions").app.timer("t", { schedule: "often", handler: () => {} })' },
      /schedule "often" of timer function "t"/,
    ],
    [
      "a route can't be read",
      { "index.js": 'require("@azure/functions").app.get("r", { route: "{a:magic}", handler: () => {} })' },
      /constraint "magic" is not known/,
    ],
  ])("the host does not start when %s", async (_, files: Readonly<Record<string, string>>, message) => {
    await expect(startApp(files)).rejects.toMatchObject({
      code: "HOST_APP_INVALID",
      message: expect.stringMatching(message) as string,
    });
  });
});

describe("the data folder", () => {
  test("a second host is refused while the first one lives, and let in after it", async () => {
    await using app = await buildApp({ "index.js": hello("locked") });
    await using data = await temporaryDirectory();
    const options = { appDirectory: app.path, dataDirectory: data.path };
    const first = await startHost(options);
    await expect(startHost(options)).rejects.toMatchObject({
      code: "HOST_DATA_IN_USE",
      message: expect.stringContaining(String(process.pid)) as string,
    });
    await first.close();
    await using second = await startHost(options);
    expect(second.keys).toEqual(first.keys);
  });

  test("what is no database is refused, not overwritten", async () => {
    await using app = await buildApp({ "index.js": hello("spoiled") });
    await using data = await temporaryDirectory();
    await writeFile(
      path.join(data.path, "host.sqlite"),
      "this is no database, but long enough to be mistaken for one".repeat(20),
    );
    await expect(startHost({ appDirectory: app.path, dataDirectory: data.path })).rejects.toMatchObject({
      code: "HOST_DATA_INVALID",
    });
  });

  test("a database of a newer program is refused", async () => {
    await using app = await buildApp({ "index.js": hello("newer") });
    await using data = await temporaryDirectory();
    const options = { appDirectory: app.path, dataDirectory: data.path };
    await (await startHost(options)).close();
    {
      using db = new DatabaseSync(path.join(data.path, "host.sqlite"));
      db.exec("UPDATE meta SET value = '99' WHERE key = 'format'");
    }
    await expect(startHost(options)).rejects.toMatchObject({
      code: "HOST_DATA_INVALID",
      message: expect.stringMatching(/newer program/) as string,
    });
  });

  test("a port that is taken is named", async () => {
    await using app = await buildApp({ "index.js": hello("taken") });
    await using one = await temporaryDirectory();
    await using two = await temporaryDirectory();
    await using first = await startHost({ appDirectory: app.path, dataDirectory: one.path });
    const port = Number(new URL(first.url).port);
    await expect(startHost({ appDirectory: app.path, dataDirectory: two.path, port })).rejects.toMatchObject({
      code: "HOST_ADDRESS_IN_USE",
    });
  });
});

describe("without keys", () => {
  test("every door is open on a loopback address, but not for pages of other origins or names", async () => {
    await using app = await buildApp({ "index.js": hello("open") });
    await using data = await temporaryDirectory();
    await using host = await startHost({ appDirectory: app.path, dataDirectory: data.path, auth: "off" });
    expect((await fetch(`${host.url}/runtime/webhooks/durabletask/instances`)).status).toBe(200);
    expect((await fetch(`${host.url}/api/open`, { headers: { origin: "http://evil.example" } })).status).toBe(
      403,
    );
  });

  test("no other address is listened on", async () => {
    await using app = await buildApp({ "index.js": hello("outside") });
    await using data = await temporaryDirectory();
    await expect(
      startHost({ appDirectory: app.path, dataDirectory: data.path, auth: "off", host: "0.0.0.0" }),
    ).rejects.toMatchObject({ code: "INPUT_INVALID" });
  });
});

test("who is signed in can't be claimed by a header", async () => {
  const code = `require("@azure/functions").app.get("whoami", (request) => ({ jsonBody: { user: request.user } }));`;
  await using started = await startApp({ "index.js": code });
  const principal = Buffer.from(
    JSON.stringify({ userId: "1", userDetails: "root", userRoles: ["admin"], identityProvider: "x" }),
  );
  const headers = { "x-ms-client-principal": principal.toString("base64") };
  expect(await (await fetch(`${started.host.url}/api/whoami`, { headers })).json()).toEqual({ user: null });
});

test("a body larger than the limit is answered 413", async () => {
  const code = `require("@azure/functions").app.post("sized", async (request) => ({ body: String((await request.arrayBuffer()).byteLength) }));`;
  await using started = await startApp(
    { "index.js": code },
    { env: { FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: "1000" } },
  );
  const send = (bytes: number): Promise<Response> =>
    fetch(`${started.host.url}/api/sized`, { method: "POST", body: new Uint8Array(bytes) });
  expect(await (await send(1000)).text()).toBe("1000");
  expect((await send(1001)).status).toBe(413);
});
