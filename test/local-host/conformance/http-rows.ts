import { expect } from "vitest";
import type { Row } from "./row.ts";

const area = "HTTP";

export const httpRows: readonly Row[] = [
  {
    area,
    rule: "a route with a constrained and an optional parameter passes both on, and only matches what fits",
    async run(client) {
      const full = (await (await client.fetch("/api/things/box/7?x=1")).json()) as Record<string, unknown>;
      expect(full["params"]).toEqual({ kind: "box", id: "7" });
      expect(full["query"]).toEqual({ x: "1" });
      expect(
        ((await (await client.fetch("/api/things/box")).json()) as Record<string, unknown>)["params"],
      ).toEqual({ kind: "box" });
      expect((await client.fetch("/api/things/b0x/7")).status).toBe(404);
      expect((await client.fetch("/api/things/box/seven")).status).toBe(404);
    },
  },
  {
    area,
    rule: "a catch-all takes the rest of the path, and a literal route goes before it",
    async run(client) {
      expect(await (await client.fetch("/api/files/a/b%20c")).text()).toBe("a/b c");
      expect(await (await client.fetch("/api/files/special")).text()).toBe("special");
    },
  },
  {
    area,
    rule: "a method that no function has for the route is not found",
    async run(client) {
      expect((await client.fetch("/api/bytes", { method: "GET" })).status).toBe(404);
    },
  },
  {
    area,
    rule: "bytes pass unchanged both ways, with status, headers and cookies of the handler",
    async run(client) {
      const sent = Uint8Array.from({ length: 256 }, (_, index) => index);
      const response = await client.fetch("/api/bytes", { method: "POST", body: sent });
      expect(response.status).toBe(201);
      expect(response.headers.get("content-type")).toBe("application/octet-stream");
      expect(response.headers.getSetCookie()[0]?.toLowerCase()).toMatch(
        /^a=b%20c; path=\/; httponly; samesite=lax$/,
      );
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(sent.toReversed());
    },
  },
  {
    area,
    rule: "a handler that gives nothing is answered without a body",
    async run(client) {
      const response = await client.fetch("/api/nothing");
      expect([200, 204]).toContain(response.status);
      expect(await response.text()).toBe("");
    },
  },
  {
    area,
    rule: "a handler that throws is answered 500 without the error's text",
    async run(client) {
      const response = await client.fetch("/api/throws");
      expect(response.status).toBe(500);
      expect(await response.text()).not.toContain("secret detail");
    },
  },
  {
    area,
    rule: "level function asks for a key, in the header or the query; level admin for the master key",
    embeddedOnly: "keys are Azure's own",
    async run(client) {
      const bare = (path: string, key: string | undefined): Promise<Response> =>
        fetch(`${client.url}${path}`, { headers: key === undefined ? {} : { "x-functions-key": key } });
      expect((await bare("/api/functionLevel", undefined)).status).toBe(401);
      expect((await bare("/api/functionLevel", "wrong")).status).toBe(401);
      expect((await bare("/api/functionLevel", client.key)).status).toBe(200);
      expect((await bare(`/api/functionLevel?code=${client.key ?? ""}`, undefined)).status).toBe(200);
      expect((await bare("/api/adminLevel", client.key)).status).toBe(401);
      expect((await bare("/runtime/webhooks/durabletask/instances", client.key)).status).toBe(401);
      expect((await bare("/runtime/webhooks/durabletask/instances", client.systemKey)).status).toBe(200);
      expect((await bare("/admin/host/status", client.key)).status).toBe(401);
    },
  },
];
