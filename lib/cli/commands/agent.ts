import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { DefaultAzureCredential } from "@azure/identity";
import { ContainerClient } from "@azure/storage-blob";
import * as z from "zod";
import {
  jsonLinesLog,
  readAgentConfig,
  startAgent,
  type AgentConfig,
  type AgentLog,
  type HyperVHost,
} from "../../agent/index.ts";
import { entraTokenProvider } from "../../relay/index.ts";
import { azureBlobStore, directoryStore, type ObjectStore } from "../../repository/index.ts";
import { EXIT, UsageError, type Command, type CommandIo } from "../command.ts";
import { packageRoot } from "../estate/package-root.ts";

const usage = [
  "usage: gcb agent run --config FILE",
  "",
  "Runs the host agent until it is stopped. Its log goes to stdout, one JSON document a line.",
  "  --config FILE  the agent's configuration (docs/agent.md)",
].join("\n");

async function run(args: readonly string[], io: CommandIo): Promise<number> {
  const [verb, ...rest] = args;
  if (verb !== "run") throw new UsageError(`"agent ${verb ?? ""}" is not known; use "agent run"`);
  const { values } = parseArgs({ args: rest, options: { config: { type: "string" } } });
  if (values.config === undefined) throw new UsageError("--config is missing");
  const config = await readAgentConfig(resolve(values.config));
  const log = jsonLinesLog((line) => io.stdout.write(line));
  await using host = await openHost(config, log);
  await using agent = await startAgent({
    ...{ config, host: host.host, openStore, log },
    version: await ownVersion(),
    ...(config.relay.entra === true ? { relayToken: entraTokenProvider(new DefaultAzureCredential()) } : {}),
  });
  const stopped = new Promise<void>((done) => {
    if (io.signal.aborted) done();
    io.signal.addEventListener("abort", () => done(), { once: true });
  });
  // A refusal by the Relay is in the log already; the listener goes on trying, since an administrator can cure it.
  void agent.listener.ready.then(
    () => log("info", "agent-ready", { agentId: config.agentId }),
    () => undefined,
  );
  await stopped;
  log("info", "agent is stopping", { agentId: config.agentId });
  return EXIT.ok;
}

interface OpenHost extends AsyncDisposable {
  readonly host: HyperVHost;
}

async function openHost({ host }: AgentConfig, log: AgentLog): Promise<OpenHost> {
  switch (host.kind) {
    case "simulated": {
      const { connectSimulatedHost } = await import("../../simulated-host/index.ts");
      return {
        host: connectSimulatedHost({ url: host.url }),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
    }
    case "hyper-v": {
      const { createPowerShellHost, PowerShellSettings } = await import("../../agent/powershell/index.ts");
      const powershell = createPowerShellHost({
        settings: PowerShellSettings.parse(host.settings ?? {}),
        log: ({ level, message, facts }) => log(level, message, facts),
      });
      return { host: powershell, [Symbol.asyncDispose]: () => powershell[Symbol.asyncDispose]() };
    }
  }
}

/** The URL as the control plane sends it: a container with its token, or a directory in the embedded mode. */
function openStore(url: string): ObjectStore {
  const directory = /^directory:(.+)$/.exec(url)?.[1];
  return directory === undefined ? azureBlobStore(new ContainerClient(url)) : directoryStore(directory);
}

async function ownVersion(): Promise<string> {
  const text = await readFile(join(packageRoot(), "package.json"), "utf8");
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}

export default { summary: "run the host agent", usage, run } satisfies Command;
