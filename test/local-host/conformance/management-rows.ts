import { expect } from "vitest";
import type { HostClient, StatusDocument } from "../harness.ts";
import type { Row } from "./row.ts";

const area = "management";

async function list(
  client: HostClient,
  query: string,
  token?: string,
): Promise<{ readonly page: StatusDocument[]; readonly next: string | null }> {
  const response = await client.manage(
    `instances?${query}`,
    token === undefined ? {} : { headers: { "x-ms-continuation-token": token } },
  );
  expect(response.status).toBe(200);
  return {
    page: (await response.json()) as StatusDocument[],
    next: response.headers.get("x-ms-continuation-token"),
  };
}

export const managementRows: readonly Row[] = [
  {
    area,
    rule: "a start over the API answers 202 with working links and Location",
    async run(client, unique) {
      const response = await client.manage(`orchestrators/child/${unique}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"n":4}',
      });
      expect(response.status).toBe(202);
      const links = (await response.json()) as Record<string, string>;
      expect(response.headers.get("location")).toBe(links["statusQueryGetUri"]);
      await client.until(unique);
      const status = await fetch(links["statusQueryGetUri"] ?? "");
      expect([status.status, ((await status.json()) as StatusDocument).runtimeStatus]).toEqual([
        200,
        "Completed",
      ]);
      const purge = await fetch(links["purgeHistoryDeleteUri"] ?? "", { method: "DELETE" });
      expect([purge.status, await purge.json()]).toEqual([200, { instancesDeleted: 1 }]);
    },
  },
  {
    area,
    rule: "the links of createCheckStatusResponse work from outside: events, suspend, resume, terminate, restart",
    async run(client) {
      const started = await client.fetch("/api/orchestrators/statusTeller", { method: "POST" });
      const links = (await started.json()) as Record<string, string>;
      const post = (name: string, put: Readonly<Record<string, string>>, body = ""): Promise<Response> => {
        let url = links[name] ?? "";
        for (const [from, to] of Object.entries(put)) url = url.replace(from, to);
        return fetch(url, { method: "POST", body, headers: { "content-type": "application/json" } });
      };
      const id = links["id"] ?? "";
      expect((await post("suspendPostUri", { "{text}": "hold" })).status).toBe(202);
      await client.until(id, ["Suspended"]);
      expect((await post("sendEventPostUri", { "{eventName}": "go" }, "1")).status).toBe(202);
      expect((await client.status(id)).runtimeStatus).toBe("Suspended");
      expect((await post("resumePostUri", { "{text}": "on" })).status).toBe(202);
      expect((await client.until(id)).output).toBe("ok");
      expect((await post("terminatePostUri", { "{text}": "late" })).status).toBe(410);
      const restarted = (await (await post("restartPostUri", {})).json()) as { id: string };
      expect(restarted.id).not.toBe(id);
      await client.client("terminate", restarted.id, "enough");
      expect(await client.until(restarted.id)).toMatchObject({
        runtimeStatus: "Terminated",
        output: "enough",
      });
    },
  },
  {
    area,
    rule: "a running instance answers 202, and 404 means that there is none",
    async run(client, unique) {
      expect((await client.manage(`instances/${unique}-none`)).status).toBe(404);
      const id = await client.start("statusTeller", undefined, unique);
      const response = await client.manage(`instances/${id}`);
      expect([response.status, response.headers.get("retry-after")]).toEqual([202, "5"]);
      await client.client("terminate", id, "over");
      await client.until(id);
    },
  },
  {
    area,
    rule: "a start with the id of a running instance is refused with 409 and startNew rejects; a finished id can be used again",
    async run(client, unique) {
      await client.start("statusTeller", undefined, unique);
      const again = await client.manage(`orchestrators/statusTeller/${unique}`, { method: "POST" });
      expect(again.status).toBe(409);
      await expect(client.client("startNew", "statusTeller", { instanceId: unique })).rejects.toThrow(/409/);
      await client.client("raiseEvent", unique, "go", 1);
      expect((await client.until(unique)).output).toBe("ok");
      expect((await client.run("helloSequence", undefined, unique)).output).toHaveLength(3);
    },
  },
  {
    area,
    rule: "of two starts of one id at the same time exactly one succeeds",
    async run(client, unique) {
      const starts = Array.from({ length: 8 }, () =>
        client.manage(`orchestrators/statusTeller/${unique}`, { method: "POST" }),
      );
      const statuses = (await Promise.all(starts)).map(({ status }) => status).sort();
      expect(statuses).toEqual([202, 409, 409, 409, 409, 409, 409, 409]);
      await client.client("terminate", unique, "over");
    },
  },
  {
    area,
    rule: "a start of an unknown orchestrator is refused",
    async run(client) {
      expect([400, 404]).toContain((await client.manage("orchestrators/nobody", { method: "POST" })).status);
    },
  },
  {
    area,
    rule: "custom status shows while the instance runs and stays after it",
    async run(client) {
      const id = await client.start("statusTeller");
      for (;;) if ((await client.status(id)).customStatus !== null) break;
      expect((await client.status(id)).customStatus).toEqual({ step: "waiting" });
      await client.client("raiseEvent", id, "go", {});
      expect((await client.until(id)).customStatus).toEqual({ step: "done" });
    },
  },
  {
    area,
    rule: "the client's getStatus gives input, output and, when asked, history with results",
    async run(client) {
      const id = await client.start("helloSequence", { a: 1 });
      await client.until(id);
      const status = (await client.client("getStatus", id, {
        showHistory: true,
        showHistoryOutput: true,
      })) as StatusDocument;
      expect(status.input).toEqual({ a: 1 });
      expect(status.output).toHaveLength(3);
      const { historyEvents = [] } = await client.status(id, "?showHistory=true&showHistoryOutput=true");
      expect(
        historyEvents.map((event) => [event["EventType"], event["FunctionName"], event["Result"]]),
      ).toEqual([
        ["ExecutionStarted", "helloSequence", undefined],
        ["TaskCompleted", "sayHello", "Hello, Tokyo!"],
        ["TaskCompleted", "sayHello", "Hello, Seattle!"],
        ["TaskCompleted", "sayHello", "Hello, Cairo!"],
        ["ExecutionCompleted", undefined, ["Hello, Tokyo!", "Hello, Seattle!", "Hello, Cairo!"]],
      ]);
      expect((await client.status(id, "?showInput=false")).input).toBeNull();
    },
  },
  {
    area,
    rule: "lists are filtered by id prefix, state and time, and come in pages without loss or repetition",
    async run(client, unique) {
      const before = new Date(Date.now() - 60_000).toISOString();
      const ids = Array.from({ length: 7 }, (_, index) => `${unique}-${index}`);
      for (const id of ids) await client.run("child", { n: 1 }, id);
      const waiting = await client.start("statusTeller", undefined, `${unique}-waiting`);
      const found: string[] = [];
      let token: string | undefined;
      do {
        const { page, next } = await list(
          client,
          `instanceIdPrefix=${unique}-&top=3&runtimeStatus=Completed&createdTimeFrom=${before}`,
          token,
        );
        expect(page.length).toBeLessThanOrEqual(3);
        found.push(...page.map(({ instanceId }) => instanceId));
        token = next ?? undefined;
      } while (token !== undefined);
      expect(found.sort()).toEqual(ids);
      expect((await list(client, `instanceIdPrefix=${unique}-&createdTimeTo=${before}`)).page).toEqual([]);
      expect(
        (await list(client, `instanceIdPrefix=${unique}-&runtimeStatus=Running,Pending`)).page.map(
          ({ instanceId }) => instanceId,
        ),
      ).toEqual([waiting]);
      await client.client("terminate", waiting, "over");
    },
  },
  {
    area,
    rule: "the client's getStatusBy follows the pages",
    async run(client, unique) {
      await client.run("child", { n: 1 }, unique);
      const all = (await client.client("getStatusBy", {
        createdTimeFrom: new Date(Date.now() - 3_600_000).toISOString(),
        runtimeStatus: ["Completed"],
      })) as StatusDocument[];
      expect(all.map(({ instanceId }) => instanceId)).toContain(unique);
    },
  },
  {
    area,
    rule: "purge removes a finished instance, by id and by filter; a running one stays",
    async run(client, unique) {
      await client.run("child", { n: 1 }, unique);
      const waiting = await client.start("statusTeller");
      expect(await client.client("purgeInstanceHistory", unique)).toEqual({ instancesDeleted: 1 });
      expect(await client.client("purgeInstanceHistory", unique)).toEqual({ instancesDeleted: 0 });
      expect((await client.manage(`instances/${unique}`)).status).toBe(404);
      const from = new Date(Date.now() - 2000).toISOString();
      await client.run("child", { n: 1 }, unique);
      const removed = (await client.client("purgeInstanceHistoryBy", {
        createdTimeFrom: from,
        runtimeStatus: ["Completed"],
      })) as { instancesDeleted: number };
      expect(removed.instancesDeleted).toBeGreaterThanOrEqual(1);
      expect((await client.manage(`instances/${unique}`)).status).toBe(404);
      expect((await client.status(waiting)).runtimeStatus).not.toBe("Completed");
      await client.client("terminate", waiting, "over");
    },
  },
  {
    area,
    rule: "a terminated instance stops, whatever it waits for",
    async run(client) {
      const id = await client.start("approval", 3_600_000);
      await client.client("terminate", id, "because");
      expect(await client.until(id)).toMatchObject({ runtimeStatus: "Terminated", output: "because" });
      await expect(client.client("raiseEvent", id, "Approval", true)).resolves.toBeNull();
    },
  },
  {
    area,
    rule: "rewind runs the failed task again, keeps completed ones, and rewinds a failed sub-orchestration",
    embeddedOnly: "not for every storage provider",
    async run(client, unique) {
      const id = await client.start("rewindable", unique);
      expect((await client.until(id)).runtimeStatus).toBe("Failed");
      await client.client("rewind", id, "again");
      // The second failure is the sub-orchestration's.
      for (;;) {
        const { runtimeStatus, output } = await client.status(id);
        if (runtimeStatus === "Failed" && String(output).includes("-sub")) break;
      }
      await client.client("rewind", id, "and again");
      const { output, runtimeStatus } = await client.until(id, ["Completed"]);
      expect([runtimeStatus, output]).toEqual(["Completed", [2, 4, `${unique} done`, `${unique}-sub done`]]);
    },
  },
  {
    area,
    rule: "rewind of a completed instance is refused",
    async run(client) {
      const { instanceId } = await client.run("child", { n: 1 });
      await expect(client.client("rewind", instanceId, "no")).rejects.toThrow();
    },
  },
  {
    area,
    rule: "an unknown instance can't be raised, terminated, suspended or resumed",
    async run(client, unique) {
      for (const operation of ["raiseEvent/x", "terminate", "suspend", "resume", "rewind", "restart"]) {
        const response = await client.manage(`instances/${unique}/${operation}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: "1",
        });
        expect([operation, response.status]).toEqual([operation, 404]);
      }
    },
  },
  {
    area,
    rule: "waitForCompletionOrCreateCheckStatusResponse gives the result, and 500 for a failed instance",
    async run(client) {
      const done = await client.fetch("/api/wait/child", { method: "POST", body: '{"n":3}' });
      expect([done.status, ((await done.json()) as { doubled: number }).doubled]).toEqual([200, 6]);
      const failed = await client.fetch("/api/wait/child", { method: "POST", body: '{"fail":"no"}' });
      expect(failed.status).toBe(500);
    },
  },
  {
    area,
    rule: "timeout and pollingInterval make a start wait for its result",
    async run(client) {
      const response = await client.manage("orchestrators/child?timeout=10&pollingInterval=1", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"n":5}',
      });
      expect([response.status, ((await response.json()) as { doubled: number }).doubled]).toEqual([200, 10]);
    },
  },
  {
    area,
    rule: "a failed instance answers 500 when returnInternalServerErrorOnFailure asks for it",
    async run(client) {
      const { instanceId } = await client.run("unhandled");
      expect((await client.manage(`instances/${instanceId}`)).status).toBe(200);
      expect(
        (await client.manage(`instances/${instanceId}?returnInternalServerErrorOnFailure=true`)).status,
      ).toBe(500);
    },
  },
  {
    area,
    rule: "entities are listed with their states",
    async run(client, unique) {
      await client.run("counting", { key: unique, times: 2 });
      const listed = (await (await client.manage("entities/counter?fetchState=true")).json()) as {
        entityId: { key: string };
        state: unknown;
      }[];
      expect(listed.find(({ entityId }) => entityId.key === unique)?.state).toBe(2);
    },
  },
  {
    area,
    rule: "callHttp gives status, content and headers of the answer",
    async run(client) {
      const url = `${client.url}/api/files/through-http`;
      expect((await client.run("httpCaller", { method: "GET", url })).output).toEqual({
        status: 200,
        content: "through-http",
        after: 12,
      });
    },
  },
];
