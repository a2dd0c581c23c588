import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { startHost } from "../../lib/local-host/index.ts";
import { buildApp } from "./app-builder.ts";
import { appDirectory, HostClient, temporaryDirectory, temporaryHost } from "./harness.ts";

describe("a clean end", () => {
  test("waits for activities that run, and keeps their results", async () => {
    await using data = await temporaryDirectory();
    const options = { appDirectory: appDirectory("basics"), dataDirectory: data.path };
    const first = await startHost(options);
    const id = await HostClient.of(first).start("fanOutFanIn", { count: 4, ms: 150 });
    await HostClient.of(first).until(id, ["Running"]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await first.close();
    await using second = await startHost(options);
    expect((await HostClient.of(second).until(id)).output).toBe(12);
    const { historyEvents = [] } = await HostClient.of(second).status(id, "?showHistory=true");
    expect(historyEvents.filter(({ EventType }) => EventType === "TaskCompleted")).toHaveLength(4);
  });

  test("gives back what takes longer than the grace time, to be run again", async () => {
    await using data = await temporaryDirectory();
    const options = { appDirectory: appDirectory("basics"), dataDirectory: data.path, graceMs: 20 };
    const first = await startHost(options);
    const id = await HostClient.of(first).start("fanOutFanIn", { count: 1, ms: 400 });
    await HostClient.of(first).until(id, ["Running"]);
    await first.close();
    await using second = await startHost(options);
    expect((await HostClient.of(second).until(id)).runtimeStatus).toBe("Completed");
  });

  test("a suspended instance stays suspended over a restart", async () => {
    await using data = await temporaryDirectory();
    const options = { appDirectory: appDirectory("basics"), dataDirectory: data.path };
    const first = await startHost(options);
    const before = HostClient.of(first);
    const id = await before.start("statusTeller");
    await before.client("suspend", id, "hold");
    await before.until(id, ["Suspended"]);
    await before.client("raiseEvent", id, "go", 1);
    await first.close();
    await using second = await startHost(options);
    const after = HostClient.of(second);
    await second.whenIdle();
    expect((await after.status(id)).runtimeStatus).toBe("Suspended");
    await after.client("resume", id, "on");
    expect((await after.until(id)).output).toBe("ok");
  });
});

/** Starts the killable host on an app; gives its client, or undefined when the process ended before it answered. */
async function launch(app: string, data: string, maxDeliveries: number) {
  const script = path.join(import.meta.dirname, "kill", "host-process.ts");
  const child = spawn(process.execPath, [script, app, data, String(maxDeliveries)], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const exited = once(child, "exit");
  for await (const line of createInterface({ input: child.stdout })) {
    const { url, systemKey } = JSON.parse(line) as { url: string; systemKey: string };
    return { child, exited, client: new HostClient(url, undefined, systemKey) };
  }
  await exited;
  return undefined;
}

describe("work that kills the process", () => {
  const files = {
    "index.js": `const df = require("durable-functions");
      df.app.activity("deadly", { handler: () => process.kill(process.pid, "SIGKILL") });
      df.app.activity("fine", { handler: () => "fine" });
      df.app.orchestration("callsDeadly", function* (context) {
        const fine = yield context.df.callActivity("fine");
        try { yield context.df.callActivity("deadly"); } catch (error) { return [fine, error.message]; }
      });
      df.app.entity("deadlyEntity", (context) => {
        if (context.df.operationName === "die") process.kill(process.pid, "SIGKILL");
        context.df.return("alive");
      });
      df.app.orchestration("callsDeadlyEntity", function* (context) {
        const id = new df.EntityId("deadlyEntity", "x");
        try { yield context.df.callEntity(id, "die"); } catch (error) { return [error.message, yield context.df.callEntity(id, "live")]; }
      });
      df.app.orchestration("isDeadly", function* (context) {
        process.kill(process.pid, "SIGKILL");
        yield context.df.callActivity("fine");
      });`,
  };

  test.each([
    ["an activity", "callsDeadly", "Completed", /ended 3 times while it ran activity 'deadly'/],
    [
      "an entity operation",
      "callsDeadlyEntity",
      "Completed",
      /ended 3 times while entity '@deadlyentity@x' ran 'die'.*alive/,
    ],
    ["an orchestrator", "isDeadly", "Failed", /ended 3 times while it ran this orchestrator/],
  ])(
    "%s is parked after its deliveries, with a message, and the host lives on",
    async (_, name, status, message) => {
      await using app = await buildApp(files);
      await using data = await temporaryDirectory();
      let deaths = 0;
      for (let life = 0; ; life++) {
        const host = await launch(app.path, data.path, 3);
        if (host === undefined) {
          deaths++;
          continue;
        }
        try {
          if (life === 0) {
            const sent = host.client.manage(`orchestrators/${name}/poison`, { method: "POST" });
            await sent.catch(() => undefined);
          }
          const outcome = await Promise.race([
            host.client.until("poison").catch(() => "died" as const),
            host.exited.then(() => "died" as const),
          ]);
          if (outcome === "died") {
            await host.exited;
            deaths++;
            continue;
          }
          expect(outcome.runtimeStatus).toBe(status);
          expect(JSON.stringify(outcome.output)).toMatch(message);
          expect(deaths).toBeGreaterThanOrEqual(3);
          return;
        } finally {
          host.child.kill("SIGKILL");
          await host.exited;
        }
      }
    },
  );
});

describe("versions", () => {
  const versioned = (version: string, more: Record<string, string> = {}) => ({
    AzureFunctionsJobHost__extensions__durableTask__defaultVersion: version,
    ...Object.fromEntries(
      Object.entries(more).map(([name, value]) => [
        `AzureFunctionsJobHost__extensions__durableTask__${name}`,
        value,
      ]),
    ),
  });

  test("a new instance gets the default version or the one it is started with; the orchestrator reads it", async () => {
    await using running = await temporaryHost("basics", { env: versioned("1.2.0") });
    const { client } = running;
    expect((await client.run("versionTeller")).output).toBe("1.2.0");
    await client.client("startNew", "versionTeller", { instanceId: "older", version: "1.1" });
    expect((await client.until("older")).output).toBe("1.1");
  });

  test("CurrentOrOlder with Reject leaves a newer instance alone until a newer host comes", async () => {
    await using data = await temporaryDirectory();
    const options = { appDirectory: appDirectory("basics"), dataDirectory: data.path };
    const older = await startHost({ ...options, env: versioned("1.9.0") });
    const client = HostClient.of(older);
    await client.client("startNew", "versionTeller", { instanceId: "newer", version: "1.10.0" });
    await older.whenIdle();
    expect((await client.status("newer")).runtimeStatus).toBe("Pending");
    await older.close();
    await using newer = await startHost({ ...options, env: versioned("1.10.0") });
    expect((await HostClient.of(newer).until("newer")).output).toBe("1.10.0");
  });

  test("Strict with Fail fails an instance of another version", async () => {
    await using running = await temporaryHost("basics", {
      env: versioned("2.0", { versionMatchStrategy: "Strict", versionFailureStrategy: "Fail" }),
    });
    await running.client.client("startNew", "versionTeller", { instanceId: "other", version: "1.0" });
    expect(await running.client.until("other")).toMatchObject({
      runtimeStatus: "Failed",
      output: expect.stringMatching(/version '1\.0'/) as string,
    });
  });
});

describe("callHttp", () => {
  test("follows 202 answers by polling the Location until there is another", async () => {
    const seen: string[] = [];
    const server = createServer((request: IncomingMessage, response) => {
      seen.push(`${request.method ?? ""} ${request.url ?? ""}`);
      if (request.url === "/job")
        response.writeHead(202, { location: "/job/status", "retry-after": "0" }).end();
      else if (seen.length < 4)
        response.writeHead(202, { location: "/job/status", "retry-after": "0" }).end();
      else response.writeHead(200, { "content-type": "text/plain" }).end("ready");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/job`;
      await using running = await temporaryHost("basics");
      const { output } = await running.client.run("httpCaller", { method: "POST", url, body: { a: 1 } });
      expect(output).toEqual({ status: 200, content: "ready", after: 12 });
      expect(seen).toEqual(["POST /job", "GET /job/status", "GET /job/status", "GET /job/status"]);
      const once202 = await running.client.run("httpCaller", { method: "GET", url, enablePolling: false });
      expect(once202.output).toMatchObject({ status: 202 });
    } finally {
      server.close();
    }
  });
});

describe("size", () => {
  test("an orchestration with ten thousand activities finishes", async () => {
    await using running = await temporaryHost("basics");
    expect((await running.client.run("fanOutFanIn", { count: 10_000 })).output).toBe(99_990_000);
  });

  test("five thousand waiting instances are held in the database, not in memory", async () => {
    await using running = await temporaryHost("basics");
    const { client } = running;
    const ids = Array.from({ length: 5000 }, (_, index) => `waiting-${index}`);
    const startMany = async (list: readonly string[]): Promise<void> => {
      for (let at = 0; at < list.length; at += 50) {
        await Promise.all(
          list
            .slice(at, at + 50)
            .map((id) => client.manage(`orchestrators/statusTeller/${id}`, { method: "POST" })),
        );
      }
      await running.host.whenIdle();
    };
    await startMany(ids.slice(0, 1000));
    const before = usedHeap();
    await startMany(ids.slice(1000));
    const growth = usedHeap() - before;
    // At most 500 instances are kept in memory, whatever their number.
    expect(growth).toBeLessThan(10 * 2 ** 20);
    for (const id of [ids[0]!, ids[2500]!, ids[4999]!]) {
      await client.client("raiseEvent", id, "go", 1);
      expect((await client.until(id)).output).toBe("ok");
    }
  });

  test("retries, sub-orchestrations and results that come in droves are told apart", async () => {
    await using running = await temporaryHost("basics");
    expect(await running.client.run("mixedGathering", 600)).toMatchObject({
      runtimeStatus: "Completed",
      output: 600,
    });
  });
});

/** Bytes of live objects: garbage is collected first. */
function usedHeap(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed;
}
