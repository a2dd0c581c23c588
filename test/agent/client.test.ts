import { beforeAll, expect, test, vi } from "vitest";
import { readdir, readFile } from "node:fs/promises";
import { createAgentClient, createCommandSigner, generateCommandKeys } from "../../lib/agent/client/index.ts";
import { AgentId } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import type { SenderResponse } from "../../lib/relay/index.ts";
import { CLUSTER, MEMBERS, newRunId } from "./bench.ts";

const agentId = AgentId.parse("host-01");
const runId = newRunId();
let signCommand: ReturnType<typeof createCommandSigner>;
beforeAll(async () => {
  signCommand = createCommandSigner((await generateCommandKeys()).privateKey);
});

function clientThatGets(answer: () => Promise<SenderResponse> | SenderResponse) {
  return createAgentClient({ agentId, signCommand, send: () => Promise.resolve().then(answer) });
}

const response = (status: number, document: unknown): SenderResponse => {
  const body = Buffer.from(typeof document === "string" ? document : JSON.stringify(document));
  return { status, headers: {}, body };
};
const state = {
  ...{ operationId: `${runId}.preflight`, kind: "preflight", runId, clusterId: CLUSTER, state: "succeeded" },
  ...{ startedAt: "2026-11-23T00:00:00.000Z", endedAt: "2026-11-23T00:00:01.000Z", result: { findings: [] } },
};
const put = (client: ReturnType<typeof clientThatGets>) => {
  const input = { members: MEMBERS, consistency: "application" };
  return client.putOperation({ runId, clusterId: CLUSTER, kind: "preflight", input });
};

test("a state comes back with the result of its kind", async () => {
  expect(await put(clientThatGets(() => response(200, state)))).toEqual(state);
});

test("an input that the contract does not allow is not sent", async () => {
  const client = clientThatGets(() => {
    throw new Error("must not be sent");
  });
  const attempt = client.putOperation({ runId, clusterId: CLUSTER, kind: "preflight", input: {} });
  await expect(attempt).rejects.toMatchObject({ code: "INPUT_INVALID" });
});

test.each<[string, () => SenderResponse, string, string]>([
  [
    "the agent's own error",
    () => response(409, { error: new BackupError("AGENT_RUN_ENDED", "over", { facts: { a: 1 } }) }),
    "AGENT_RUN_ENDED",
    "never",
  ],
  [
    "the relay's error",
    () => {
      throw new BackupError("RELAY_NO_LISTENER", "nobody", { retry: "later" });
    },
    "RELAY_NO_LISTENER",
    "later",
  ],
  [
    "an error of the line",
    () => {
      throw new TypeError("fetch failed");
    },
    "AGENT_UNREACHABLE",
    "later",
  ],
  ["a gateway's page", () => response(503, "<html>Service Unavailable</html>"), "AGENT_UNREACHABLE", "later"],
  [
    "a page in place of an answer",
    () => response(200, "<html></html>"),
    "AGENT_ANSWER_INVALID",
    "after-operator",
  ],
  ["an unknown document", () => response(200, { hello: 1 }), "AGENT_ANSWER_INVALID", "after-operator"],
  [
    "another operation",
    () => response(200, { ...state, kind: "ship" }),
    "AGENT_ANSWER_INVALID",
    "after-operator",
  ],
  [
    "a result of another kind",
    () => response(200, { ...state, result: 1 }),
    "AGENT_ANSWER_INVALID",
    "after-operator",
  ],
])("%s has its code and says whether to try again", async (_name, answer, code, retry) => {
  await expect(put(clientThatGets(answer))).rejects.toMatchObject({ code, retry });
});

test("the client loads neither the journal nor a handler", async () => {
  const agent = new URL("../../lib/agent/", import.meta.url);
  const seen = new Set<string>();
  const visit = async (file: URL): Promise<void> => {
    if (seen.has(file.href)) return;
    seen.add(file.href);
    const source = await readFile(file, "utf8");
    const values = [...source.matchAll(/^(?:import|export)\s+(?!type\b)[^;]*?from\s+"([^"]+)"/gms)].map(
      ([, from]) => from!,
    );
    expect(values).not.toContain("node:sqlite");
    for (const from of values.filter((each) => each.startsWith("."))) {
      const next = new URL(from, file);
      if (next.href.startsWith(agent.href)) await visit(next);
    }
  };
  await visit(new URL("client/index.ts", agent));
  const folders = new Set([...seen].map((href) => href.slice(agent.href.length).split("/")[0]));
  expect([...folders].sort()).toEqual(["client", "commands"]);
  expect(await readdir(agent)).toContain("journal");
});

test("an agent that gives no answer is given up on before the Relay would, as unreachable", async () => {
  vi.useFakeTimers();
  try {
    const asked = Promise.withResolvers<undefined>();
    const client = createAgentClient({
      ...{ agentId, signCommand },
      send: ({ signal }) =>
        new Promise((_, reject) => {
          signal?.addEventListener("abort", () => {
            reject(signal.reason as Error);
          });
          asked.resolve(undefined);
        }),
    });
    const answer = client.getOperation(`${runId}.ship`, 20_000).catch((error: unknown) => error);
    await asked.promise;
    await vi.advanceTimersByTimeAsync(36_000);
    expect(await answer).toMatchObject({ code: "AGENT_UNREACHABLE", retry: "later" });
  } finally {
    vi.useRealTimers();
  }
});
