import { mkdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { BlobServiceClient, type ContainerClient } from "@azure/storage-blob";
import * as z from "zod";
import { AgentId, GuestCluster, type VmId } from "../../contracts/index.ts";
import { startRelayEmulator } from "../../relay/emulator/index.ts";
import { azureBlobStore, createRepository } from "../../repository/index.ts";
import { createEstate as createSimulatedEstate, type SharedDiskContent } from "../../simulated-host/index.ts";
import { azuriteConnectionString, azuriteContainerUrl, azuriteService } from "./azurite.ts";
import { makeRelayRules, writeConfiguration } from "./configuration.ts";
import { connectControlPlane, type ControlPlane } from "./control-plane.ts";
import { freePort } from "./free-port.ts";
import { packageRoot } from "./package-root.ts";
import { jsonLine, startService, type ServiceOptions, type ServiceProcess } from "./service-process.ts";

/*
 * A whole installation on one machine: Azurite, the simulated Hyper-V host, the agent and the function app each in a process of
 * its own, the relay emulator in this one. The demo, `npm start` and the crash tests use it.
 */

const CLUSTER = "sql-fci";
const AGENT = AgentId.parse("host-01");
const MAIN = resolve(import.meta.dirname, `../main${import.meta.filename.endsWith(".ts") ? ".ts" : ".js"}`);

export interface EstateOptions {
  /** Everything the estate keeps is below it. */
  readonly folder: string;
  readonly sharedDisk: SharedDiskContent;
  readonly members: number;
  /** Folder with package.json, host.json and the compiled app; the one this program belongs to by default. */
  readonly appDirectory?: string;
  /** How long the relay waits for an agent that has taken a request; 60 s as the service does. Tests shorten it. */
  readonly relayTimeoutMs?: number;
  /** Port of the function app; a free one by default. */
  readonly port?: number;
  readonly onStep?: (title: string) => void;
}

export interface Estate extends AsyncDisposable {
  readonly cluster: GuestCluster;
  readonly memberNames: ReadonlyMap<VmId, string>;
  readonly controlPlane: ControlPlane;
  readonly functionKey: string;
  readonly simulatedHostUrl: string;
  readonly restoreRoot: string;
  readonly passphrase: string;
  /** The container the repository is in, with all rights: for looking at it, and for damaging it in a demonstration. */
  readonly container: ContainerClient;
  readonly services: Readonly<Record<ServiceName, Service>>;
}

export type ServiceName = "azurite" | "simulated-host" | "agent" | "functions";

export interface Service {
  readonly pid: number;
  /** Kills it (SIGKILL) and does not start it again. */
  kill(): Promise<void>;
  /** Starts it again on the same data and the same address. */
  start(): Promise<void>;
}

export async function startEstate(options: EstateOptions): Promise<Estate> {
  const { folder, onStep = () => undefined } = options;
  const appDirectory = options.appDirectory ?? packageRoot();
  const logs = join(folder, "logs");
  const restoreRoot = join(folder, "restored");
  await mkdir(logs, { recursive: true });
  await mkdir(restoreRoot, { recursive: true });
  await using stack = new AsyncDisposableStack();
  const service = async <T>(startOptions: ServiceOptions<T>) => stack.use(await restartable(startOptions));

  onStep("fill the shared disk of the guest cluster");
  const hyperv = join(folder, "hyperv");
  const simulated = await createSimulatedEstate({
    folder: hyperv,
    sharedDisk: options.sharedDisk,
    vms: options.members,
  });

  onStep("start Azurite, the relay, the Hyper-V host, the agent and the function app");
  const azuriteFolder = join(folder, "azurite");
  await mkdir(azuriteFolder, { recursive: true });
  const azurite = await service(azuriteService(azuriteFolder, join(logs, "azurite.log"), await freePort()));
  const connection = azuriteConnectionString(azurite.ready.port);
  const container = BlobServiceClient.fromConnectionString(connection).getContainerClient("backups");
  await container.createIfNotExists();
  const passphrase = "correct horse battery staple";
  const repository = await createRepository(azureBlobStore(container), { passphrase });

  const rules = makeRelayRules();
  const relay = await startRelayEmulator({
    ...(options.relayTimeoutMs === undefined ? {} : { responseTimeoutMs: options.relayTimeoutMs }),
    connections: [
      {
        path: AGENT,
        rules: [
          { ...rules.listen, rights: ["Listen"] },
          { ...rules.send, rights: ["Send"] },
        ],
      },
    ],
  });
  stack.use(relay);

  const simulatedPort = await freePort();
  const simulatedHost = await service({
    name: "simulated-host",
    nodeArguments: [MAIN, "simulated-host", "run", "--folder", hyperv, "--port", String(simulatedPort)],
    logFile: join(logs, "simulated-host.log"),
    readyWhen: jsonLine((value) => z.object({ url: z.url() }).safeParse(value).data),
  });

  const cluster = GuestCluster.parse({
    id: CLUSTER,
    displayName: "SQL Server failover instance (simulated)",
    agentId: AGENT,
    members: simulated.members.map(({ vmId }) => vmId),
  });
  const { agentConfigFile, appSettings } = await writeConfiguration({
    folder,
    agentId: AGENT,
    cluster,
    relayEndpoint: relay.endpoint,
    rules,
    repository,
    repositoryUrl: azuriteContainerUrl(azurite.ready.port, "backups"),
    repositoryConnection: connection,
    passphrase,
    restoreRoot,
    simulatedHostUrl: simulatedHost.ready.url,
  });

  const agent = await service({
    name: "agent",
    nodeArguments: [MAIN, "agent", "run", "--config", agentConfigFile],
    logFile: join(logs, "agent.log"),
    readyWhen: (line) => (line.includes("agent-ready") ? true : undefined),
  });
  const functionsData = join(folder, "functions");
  const port = options.port ?? (await freePort());
  const functions = await service({
    name: "functions",
    nodeArguments: [
      ...[MAIN, "host", "start", "--app", appDirectory],
      ...["--data", functionsData, "--port", String(port)],
    ],
    env: appSettings,
    logFile: join(logs, "functions.log"),
    readyWhen: (line) => /^Listening on (http:\S+)$/.exec(line)?.[1],
  });
  const functionKey = await readFunctionKey(join(functionsData, "keys.json"));

  const owned = stack.move();
  return {
    cluster,
    memberNames: new Map(simulated.members.map(({ vmId, name }) => [vmId, name])),
    controlPlane: connectControlPlane(functions.ready, functionKey),
    functionKey,
    simulatedHostUrl: simulatedHost.ready.url,
    restoreRoot,
    passphrase,
    container,
    services: { azurite, "simulated-host": simulatedHost, agent, functions },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Disposed newest first: the function app ends before the agent, the agent before the host it works on. */
async function restartable<T>(
  options: ServiceOptions<T>,
): Promise<Service & AsyncDisposable & { readonly ready: T }> {
  let process: ServiceProcess<T> = await startService(options);
  return {
    get pid() {
      return process.pid;
    },
    ready: process.ready,
    kill: () => process.kill(),
    async start() {
      await process.kill();
      process = await startService(options);
    },
    [Symbol.asyncDispose]: () => process.stop(),
  };
}

const HostKeys = z.object({ host: z.object({ default: z.string() }) });

async function readFunctionKey(file: string): Promise<string> {
  return HostKeys.parse(JSON.parse(await readFile(file, "utf8"))).host.default;
}
