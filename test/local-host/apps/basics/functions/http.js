/* global require, Buffer */
const { app } = require("@azure/functions");
const df = require("durable-functions");

app.http("startOrchestrator", {
  route: "orchestrators/{name}",
  methods: ["POST"],
  authLevel: "function",
  extraInputs: [df.input.durableClient()],
  handler: async (request, context) => {
    const client = df.getClient(context);
    const text = await request.text();
    const instanceId = request.query.get("instanceId") ?? undefined;
    const id = await client.startNew(request.params.name, {
      ...(instanceId === undefined ? {} : { instanceId }),
      ...(text === "" ? {} : { input: JSON.parse(text) }),
    });
    return client.createCheckStatusResponse(request, id);
  },
});
/** Lets a test use every method of the durable client: `{method, args}`. */
app.http("client", {
  route: "client",
  methods: ["POST"],
  authLevel: "function",
  extraInputs: [df.input.durableClient()],
  handler: async (request, context) => {
    const { method, args } = await request.json();
    const client = df.getClient(context);
    try {
      const result = await client[method](...args.map(revive));
      return { jsonBody: { result: result ?? null } };
    } catch (error) {
      return { jsonBody: { error: error.message } };
    }
  },
});
function revive(value) {
  if (value && typeof value === "object" && value.entity)
    return new df.EntityId(value.entity.name, value.entity.key);
  if (value && typeof value === "object") {
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => [key, /Time/.test(key) ? new Date(each) : each]),
    );
  }
  return value;
}
app.http("wait", {
  route: "wait/{name}",
  methods: ["POST"],
  authLevel: "anonymous",
  extraInputs: [df.input.durableClient()],
  handler: async (request, context) => {
    const client = df.getClient(context);
    const id = await client.startNew(request.params.name, { input: await request.json() });
    return client.waitForCompletionOrCreateCheckStatusResponse(request, id, {
      timeoutInMilliseconds: 5000,
      retryIntervalInMilliseconds: 50,
    });
  },
});
app.http("parameters", {
  route: "things/{kind:alpha}/{id:int?}",
  methods: ["GET"],
  handler: (request) => ({
    jsonBody: { params: request.params, query: Object.fromEntries(request.query), url: request.url },
  }),
});
app.http("rest", {
  route: "files/{*path}",
  methods: ["GET"],
  handler: (request) => ({ body: request.params.path }),
});
app.http("literal", { route: "files/special", methods: ["GET"], handler: () => ({ body: "special" }) });
app.http("bytes", {
  route: "bytes",
  methods: ["POST"],
  handler: async (request) => ({
    status: 201,
    body: Buffer.from(await request.arrayBuffer()).reverse(),
    headers: { "content-type": "application/octet-stream" },
    cookies: [{ name: "a", value: "b c", path: "/", httpOnly: true, sameSite: "Lax" }],
  }),
});
app.http("nothing", { methods: ["GET"], handler: () => undefined });
app.http("throws", {
  methods: ["GET"],
  handler: () => {
    throw new Error("secret detail");
  },
});
app.http("functionLevel", { methods: ["GET"], authLevel: "function", handler: () => ({ body: "in" }) });
app.http("adminLevel", { methods: ["GET"], authLevel: "admin", handler: () => ({ body: "in" }) });

globalThis.timerRuns = [];
app.timer("nightly", {
  schedule: "0 30 2 * * *",
  handler: (timer) => {
    globalThis.timerRuns.push(timer);
  },
});
