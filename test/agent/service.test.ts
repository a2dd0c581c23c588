import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createAgentClient, createCommandSigner, generateCommandKeys } from "../../lib/agent/client/index.ts";
import { AgentConfig, jsonLinesLog, startAgent, type HyperVHost } from "../../lib/agent/index.ts";
import { AgentId, operationIdOf } from "../../lib/contracts/index.ts";
import { createSender, sasTokenProvider } from "../../lib/relay/index.ts";
import { startRelayEmulator } from "../../lib/relay/emulator/index.ts";
import { createRepository, directoryStore, exportWriterKey } from "../../lib/repository/index.ts";
import { CLUSTER, MEMBERS, newRunId, newState, temporaryFolder, URL_WITH_SECRET } from "./bench.ts";
import { fakeHost } from "./fake-host.ts";

const AGENT = AgentId.parse("host-01");
const RELAY_KEY = "cmVsYXkta2V5LXRoYXQtbXVzdC1ub3QtYmUtbG9nZ2Vk";

/** An agent behind a relay, with a repository in a folder. */
async function installation(host: HyperVHost) {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const rule = { keyName: "both", key: RELAY_KEY };
  const relay = stack.use(
    await startRelayEmulator({
      connections: [{ path: AGENT, rules: [{ ...rule, rights: ["Listen", "Send"] }] }],
    }),
  );
  const keys = await generateCommandKeys();
  const storeFolder = join(folder.path, "store");
  await mkdir(storeFolder);
  const repository = await createRepository(directoryStore(storeFolder), {
    passphrase: "a passphrase for tests",
  });
  const writerKey = exportWriterKey(repository);
  await writeFile(join(folder.path, "writer.key"), writerKey);
  const config = AgentConfig.parse({
    agentId: AGENT,
    dataDirectory: join(folder.path, "agent"),
    relay: { endpoint: relay.endpoint, path: AGENT, ...rule },
    controlPlanePublicKeys: [keys.publicKey],
    repositoryWriterKeyFile: join(folder.path, "writer.key"),
    host: { kind: "simulated", url: "http://127.0.0.1:1" },
  });
  const lines: string[] = [];
  const start = () =>
    startAgent({
      ...{ config, host, version: "0.0.0", log: jsonLinesLog((line) => lines.push(line)) },
      openStore: () => directoryStore(storeFolder),
    });
  const sender = createSender({
    address: { endpoint: relay.endpoint, path: AGENT },
    token: sasTokenProvider(rule),
  });
  const client = createAgentClient({
    ...{ agentId: AGENT, signCommand: createCommandSigner(keys.privateKey) },
    send: (request) => sender.send(request),
  });
  const owned = stack.move();
  return {
    ...{ start, client, lines, writerKey, dataDirectory: config.dataDirectory },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test("commands reach the agent through the relay, and its health names what runs", async () => {
  await using setup = await installation(fakeHost(newState()));
  await using agent = await setup.start();
  await agent.listener.ready;
  const health = await setup.client.health();
  expect(health).toMatchObject({ agentId: AGENT, host: { name: "fake" }, runningOperations: [] });
  const runId = newRunId();
  await setup.client.putOperation({
    ...{ runId, clusterId: CLUSTER, kind: "preflight" },
    input: { members: MEMBERS, consistency: "application" },
  });
  const state = await setup.client.getOperation(operationIdOf(runId, "preflight"), 5_000);
  expect(state).toMatchObject({ state: "succeeded", result: { findings: [] } });
  expect(await setup.client.undoRun({ runId, clusterId: CLUSTER })).toMatchObject({ kind: "undo" });
});

test("a second agent on the same data directory is refused while the first runs, and not after", async () => {
  await using setup = await installation(fakeHost(newState()));
  {
    await using _first = await setup.start();
    await expect(setup.start()).rejects.toMatchObject({ code: "AGENT_DATA_IN_USE" });
  }
  await using _second = await setup.start();
});

test("neither log nor data directory holds a SAS signature, a key or a bearer token", async () => {
  await using setup = await installation(fakeHost(newState()));
  const runId = newRunId();
  {
    await using agent = await setup.start();
    await agent.listener.ready;
    // A restore is refused, since this agent has no passphrase; its URL carries the secret all the same.
    await setup.client.putOperation({
      ...{ runId, clusterId: CLUSTER, kind: "restore" },
      input: { repository: { url: URL_WITH_SECRET }, manifest: "manifests/a/b", targetDirectory: "/tmp/x" },
    });
    const state = await setup.client.getOperation(operationIdOf(runId, "restore"), 5_000);
    expect(state).toMatchObject({ state: "failed", error: { code: "RESTORE_PASSPHRASE_MISSING" } });
  }
  const texts = [setup.lines.join("")];
  for (const name of await readdir(setup.dataDirectory)) {
    texts.push(await readFile(join(setup.dataDirectory, name), "latin1"));
  }
  const everything = texts.join("\n");
  for (const secret of ["s3cr3t", RELAY_KEY, setup.writerKey, "Bearer ey"]) {
    expect(everything, secret).not.toContain(secret);
  }
  expect(everything).toContain(runId);
});
