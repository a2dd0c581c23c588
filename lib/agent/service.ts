import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { AgentHealth } from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";
import type { ObjectStore } from "../repository/index.ts";
import { sasTokenProvider, startListener, type RelayListener, type TokenProvider } from "../relay/index.ts";
import { createCommandVerifier } from "./commands/command-verifier.ts";
import type { AgentConfig } from "./config.ts";
import { holdDataDirectory } from "./data-directory.ts";
import { OperationEngine } from "./engine.ts";
import { createAgentRequestHandler } from "./http/handle-agent-request.ts";
import type { HyperVHost } from "./hyperv-host.ts";
import { Journal } from "./journal/journal.ts";
import type { AgentLog } from "./log.ts";
import { operationHandlers } from "./operations/index.ts";
import { readSecret, repositoryAccess } from "./repository-access.ts";
import { staticDiskFiles } from "./static-disk.ts";

export interface AgentOptions {
  readonly config: AgentConfig;
  readonly host: HyperVHost;
  readonly openStore: (url: string) => ObjectStore;
  readonly log: AgentLog;
  readonly version: string;
  /** Makes the Relay's tokens where the configuration has no key (`entra`). */
  readonly relayToken?: TokenProvider;
  readonly clock?: () => Date;
}

export interface RunningAgent extends AsyncDisposable {
  readonly listener: RelayListener;
  /** Lets answers out and ends; operations under way are taken up by the next start. */
  close(): Promise<void>;
}

/** How often the dead man's switch looks, at most. */
const EXPIRY_CHECK_MS = 30_000;

/**
 * Starts the agent: takes its data directory, takes up what was under way, listens at the Relay.
 *
 * @throws BackupError AGENT_CONFIG_INVALID, AGENT_DATA_IN_USE, AGENT_DATA_INVALID, INPUT_INVALID for the Relay's address
 */
export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const { config, host, log, version, openStore, clock = () => new Date() } = options;
  const startedAt = clock().toISOString();
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await holdDataDirectory(config.dataDirectory));
  const journal = stack.use(Journal.open(join(directory.path, "journal.sqlite"), clock));
  const verify = await createCommandVerifier({
    ...{ agentId: config.agentId, publicKeys: config.controlPlanePublicKeys, clock },
    remember: (jti, forgetAt) => journal.rememberCommand(jti, forgetAt),
  });
  const token = options.relayToken ?? (await tokenOfConfig(config));
  const description = await host.describe();
  const engine = new OperationEngine({
    journal,
    handlers: operationHandlers({ restoreRoots: config.restore.roots }),
    ports: {
      ...{ host, staticDisks: staticDiskFiles, clock, log },
      repository: repositoryAccess({
        openStore,
        writerKeyFile: config.repositoryWriterKeyFile,
        passphraseFile: config.restore.passphraseFile,
      }),
      pause: async (delayMs, signal) => {
        await sleep(delayMs, undefined, { signal });
      },
    },
    limits: { parallelDisks: config.parallelDisks, mergeWaitMs: config.mergeWaitMs },
    dataDirectory: directory.path,
    runExpiryMs: config.runExpiryMs,
  });
  stack.defer(() => engine.close());
  engine.resume();

  const expireRuns = () => {
    try {
      engine.expireRuns();
    } catch (error) {
      log("error", "silent runs could not be looked for; it is tried again", { why: String(error) });
    }
  };
  const expiry = setInterval(expireRuns, Math.min(EXPIRY_CHECK_MS, config.runExpiryMs / 4));
  stack.defer(() => {
    clearInterval(expiry);
  });
  const health = (): AgentHealth => ({
    ...{ agentId: config.agentId, version, startedAt, host: description },
    runningOperations: engine.runningOperations,
  });
  const listener = stack.use(
    startListener({
      address: { endpoint: config.relay.endpoint, path: config.relay.path },
      ...{ token, log },
      handle: createAgentRequestHandler({ engine, verify, health, log }),
    }),
  );
  const owned = stack.move();
  const close = (): Promise<void> => {
    engine.answerWaiting();
    return owned.disposeAsync();
  };
  return { listener, close, [Symbol.asyncDispose]: close };
}

async function tokenOfConfig({ relay }: AgentConfig): Promise<TokenProvider> {
  const key = relay.key ?? (relay.keyFile === undefined ? undefined : await readSecret(relay.keyFile));
  if (relay.keyName !== undefined && key !== undefined)
    return sasTokenProvider({ keyName: relay.keyName, key });
  throw new BackupError(
    "AGENT_CONFIG_INVALID",
    "the configuration's relay has no keyName with key or keyFile, and not entra: true; add one of them",
    { retry: "after-operator" },
  );
}
