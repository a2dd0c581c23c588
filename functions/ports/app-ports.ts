import { DefaultAzureCredential } from "@azure/identity";
import { createAgentClient, createCommandSigner } from "../../lib/agent/client/index.ts";
import type { AgentId } from "../../lib/contracts/index.ts";
import {
  createSender,
  entraTokenProvider,
  sasTokenProvider,
  type TokenProvider,
} from "../../lib/relay/index.ts";
import { openRepository, parseKey, type Repository } from "../../lib/repository/index.ts";
import type { Ports } from "./ports.ts";
import { openRepositoryLocation } from "./repository-location.ts";
import { readSettings, type Settings } from "./settings.ts";

let opened: Ports | undefined;

/**
 * The ports of this app, opened from its settings at the first call.
 *
 * @throws BackupError SETTINGS_INVALID
 */
export function appPorts(): Ports {
  opened ??= openPorts(readSettings(process.env));
  return opened;
}

function openPorts(settings: Settings): Ports {
  const location = openRepositoryLocation(settings);
  const relayToken = relayTokenProvider(settings);
  const signCommand = createCommandSigner(settings.GCB_COMMAND_KEY);
  let repository: Promise<Repository> | undefined;
  return {
    guestClusters: settings.GCB_GUEST_CLUSTERS,
    claims: location.claims,
    agentRepositoryUrl: location.agentUrl,
    repository() {
      repository ??= openRepository(location.store, parseKey(settings.GCB_CONTROL_PLANE_KEY)).catch(
        (error: unknown) => {
          repository = undefined; // the next call tries again: a store that is down now may be up then
          throw error;
        },
      );
      return repository;
    },
    agent(agentId: AgentId) {
      const address = { endpoint: settings.GCB_RELAY_ENDPOINT, path: agentId };
      const sender = createSender({ address, token: relayToken });
      return createAgentClient({ agentId, signCommand, send: (request) => sender.send(request) });
    },
  };
}

function relayTokenProvider(settings: Settings): TokenProvider {
  const { GCB_RELAY_KEY_NAME: keyName, GCB_RELAY_KEY: key } = settings;
  if (keyName !== undefined && key !== undefined) return sasTokenProvider({ keyName, key });
  return entraTokenProvider(new DefaultAzureCredential());
}
