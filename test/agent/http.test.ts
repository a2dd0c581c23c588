import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createAgentRequestHandler } from "../../lib/agent/http/handle-agent-request.ts";
import type { OperationEngine } from "../../lib/agent/engine.ts";
import { OPERATIONS, operationIdOf, type OperationKind, type RunId } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import type { RelayRequest, RelayResponse } from "../../lib/relay/index.ts";
import {
  CLUSTER,
  MEMBERS,
  newRunId,
  newState,
  POINT_INPUT,
  startProcess,
  temporaryFolder,
  URL_WITH_SECRET,
} from "./bench.ts";
import { fakeHost } from "./fake-host.ts";

const runId = newRunId();

/** Everything is signed for `runId`, unless `signedFor` says otherwise: signatures have tests of their own. */
function handlerOver(engine: OperationEngine, signedFor: RunId | undefined = runId) {
  return createAgentRequestHandler({
    ...{ engine, log: () => undefined, verify: () => Promise.resolve({ runId: signedFor }) },
    health: () => ({
      ...{ agentId: "host-01", version: "0", startedAt: "2026-11-23T00:00:00.000Z", runningOperations: [] },
      host: { name: "fake", implementation: "simulated" },
    }),
  });
}

function request(method: string, target: string, body: string | Uint8Array = ""): RelayRequest {
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  return { id: "1", method, target, headers: {}, body: bytes, signal: new AbortController().signal };
}

function documentOf({ body }: RelayResponse): Record<string, unknown> {
  return JSON.parse(Buffer.from(body ?? []).toString()) as Record<string, unknown>;
}

async function withEngine(
  act: (engine: OperationEngine, calls: readonly string[]) => Promise<void>,
): Promise<void> {
  await using folder = await temporaryFolder();
  const host = fakeHost(newState());
  await using agent = startProcess({ folder: folder.path, host });
  await act(agent.engine, host.calls);
}

const target = (kind: OperationKind) => `/v1/operations/${operationIdOf(runId, kind)}`;
const asking = (kind: string, input: unknown, run: string = runId) =>
  JSON.stringify({ kind, runId: run, clusterId: CLUSTER, input });
const preflight = asking("preflight", { members: MEMBERS, consistency: "application" });

describe("a request gets", () => {
  test.each<[number, string, string, string]>([
    [200, "GET", "/v1/health", ""],
    [202, "PUT", target("preflight"), preflight],
    [404, "GET", target("ship"), ""],
    [404, "GET", "/", ""],
    [404, "GET", "/v2/health", ""],
    [404, "GET", `/v1/operations/${runId}.format-disk`, ""],
    [404, "GET", "/v1/operations/../../etc/passwd", ""],
    [404, "DELETE", "/v1/runs/latest", ""],
    [405, "POST", target("preflight"), preflight],
    [405, "DELETE", target("preflight"), ""],
    [405, "GET", `/v1/runs/${runId}`, ""],
    [405, "PUT", "/v1/health", ""],
    [400, "DELETE", `/v1/runs/${runId}`, ""],
    [400, "DELETE", `/v1/runs/${runId}?clusterId=NOT%20ONE`, ""],
    [400, "GET", `${target("ship")}?waitMs=-1`, ""],
    [400, "GET", `${target("ship")}?waitMs=1e9`, ""],
    [400, "PUT", target("preflight"), "{"],
    [400, "PUT", target("preflight"), asking("ship", {})],
    [
      400,
      "PUT",
      target("preflight"),
      asking("preflight", { members: MEMBERS, consistency: "application" }, newRunId()),
    ],
    [400, "PUT", target("preflight"), asking("preflight", { members: [], consistency: "application" })],
    [400, "PUT", target("preflight"), asking("preflight", { members: MEMBERS, consistency: "crash" })],
    [413, "PUT", target("preflight"), "x".repeat(1024 * 1024 + 1)],
  ])("%i for %s %s", async (status, method, path, body) => {
    await withEngine(async (engine) => {
      const response = await handlerOver(engine)(request(method, path, body));
      expect(response.status).toBe(status);
      if (status >= 400)
        expect(documentOf(response)).toMatchObject({ error: { code: expect.any(String) as string } });
    });
  });
});

test("a command that was signed for another run is refused, and nothing is done", async () => {
  await withEngine(async (engine, calls) => {
    const handle = handlerOver(engine, newRunId());
    expect((await handle(request("PUT", target("preflight"), preflight))).status).toBe(401);
    expect((await handle(request("DELETE", `/v1/runs/${runId}?clusterId=${CLUSTER}`))).status).toBe(401);
    expect(calls).toEqual([]);
  });
});

test("an unsigned request learns nothing, not even whether a resource exists", async () => {
  await withEngine(async (engine) => {
    const refusal = new BackupError("COMMAND_REFUSED", "no");
    const handle = createAgentRequestHandler({
      ...{ engine, log: () => undefined, verify: () => Promise.reject(refusal) },
      health: () => {
        throw new Error("must not be asked");
      },
    });
    for (const path of ["/v1/health", "/nothing", target("ship")]) {
      expect((await handle(request("GET", path))).status).toBe(401);
    }
  });
});

test("whatever the body is, the answer is 400 and the host is not touched", async () => {
  await withEngine(async (engine, calls) => {
    const handle = handlerOver(engine);
    const kinds = Object.keys(OPERATIONS).filter((kind) => kind !== "undo" && kind !== "update-references");
    const bodies = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.json().map((text) => Buffer.from(text)),
      fc
        .record({ kind: fc.constantFrom(...kinds), input: fc.jsonValue() })
        .filter(({ kind, input }) => !OPERATIONS[kind as OperationKind].input.safeParse(input).success)
        .map(({ kind, input }) => Buffer.from(asking(kind, input))),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...kinds), bodies, async (kind, body) => {
        const response = await handle(request("PUT", target(kind as OperationKind), body));
        expect(response.status).toBe(400);
        expect(documentOf(response)).toMatchObject({ error: { code: "INPUT_INVALID" } });
      }),
      { numRuns: 500 },
    );
    expect(calls).toEqual([]);
  });
});

test("whatever the path is, the handler answers with a document", async () => {
  await withEngine(async (engine) => {
    const handle = handlerOver(engine);
    const paths = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.webPath(),
      fc
        .constantFrom("/v1/operations/", "/v1/runs/", "/v1/health/")
        .chain((start) => fc.string().map((end) => start + end)),
    );
    await fc.assert(
      fc.asyncProperty(paths, fc.constantFrom("GET", "PUT", "DELETE", "PATCH"), async (path, method) => {
        const response = await handle(request(method, path));
        expect([200, 400, 404, 405]).toContain(response.status);
        expect(documentOf(response)).toBeTypeOf("object");
      }),
      { numRuns: 500 },
    );
  });
});

test("an answer never shows the token of a repository URL", async () => {
  await withEngine(async (engine) => {
    const handle = handlerOver(engine);
    const input = {
      repository: { url: URL_WITH_SECRET },
      base: [],
      manifest: "m",
      targetDirectory: "/tmp/x",
    };
    for (const kind of ["ship", "restore"] as const) {
      await handle(request("PUT", target(kind), asking(kind, input)));
      const response = await handle(request("GET", `${target(kind)}?waitMs=2000`));
      expect(Buffer.from(response.body ?? []).toString()).not.toContain("s3cr3t");
    }
  });
});

test("a long poll ends with the operation, not with its time", async () => {
  await withEngine(async (engine) => {
    const handle = handlerOver(engine);
    await handle(request("PUT", target("consistency-point"), asking("consistency-point", POINT_INPUT)));
    const response = await handle(request("GET", `${target("consistency-point")}?waitMs=25000`));
    expect(documentOf(response)).toMatchObject({ state: "succeeded" });
  });
});
