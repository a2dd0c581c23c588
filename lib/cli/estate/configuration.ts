import { randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { generateCommandKeys } from "../../agent/client/index.ts";
import type { AgentId, GuestCluster } from "../../contracts/index.ts";
import { exportControlPlaneKey, exportWriterKey, type Repository } from "../../repository/index.ts";

/** One rule each: an agent that is stolen can listen but not command, and the other way round. */
export interface RelayRules {
  readonly listen: { readonly keyName: string; readonly key: string };
  readonly send: { readonly keyName: string; readonly key: string };
}

export function makeRelayRules(): RelayRules {
  const rule = (keyName: string) => ({ keyName, key: randomBytes(32).toString("base64") });
  return { listen: rule("agent-listen"), send: rule("control-plane-send") };
}

export interface Wiring {
  readonly folder: string;
  readonly agentId: AgentId;
  readonly cluster: GuestCluster;
  readonly relayEndpoint: string;
  readonly rules: RelayRules;
  readonly repository: Repository;
  readonly repositoryUrl: string;
  readonly repositoryConnection: string;
  readonly passphrase: string;
  readonly restoreRoot: string;
  readonly simulatedHostUrl: string;
}

/**
 * Writes what an installation would be given by an administrator: the agent's configuration file with the keys it reads, and
 * the function app's settings. The control plane's command key and the agent's public half are made here.
 */
export async function writeConfiguration(wiring: Wiring): Promise<{
  readonly agentConfigFile: string;
  readonly appSettings: Readonly<Record<string, string>>;
}> {
  const { folder, agentId, rules } = wiring;
  const config = join(folder, "config");
  await mkdir(config, { recursive: true, mode: 0o700 });
  const secret = async (name: string, text: string) => {
    const file = join(config, name);
    await writeFile(file, `${text}\n`, { mode: 0o600 });
    return file;
  };
  const commandKeys = await generateCommandKeys();
  const agentConfig = {
    agentId,
    dataDirectory: join(folder, "agent"),
    relay: { endpoint: wiring.relayEndpoint, path: agentId, ...rules.listen },
    controlPlanePublicKeys: [commandKeys.publicKey],
    repositoryWriterKeyFile: await secret("repository-writer.key", exportWriterKey(wiring.repository)),
    restore: {
      roots: [wiring.restoreRoot],
      passphraseFile: await secret("repository.passphrase", wiring.passphrase),
    },
    host: { kind: "simulated", url: wiring.simulatedHostUrl },
  };
  return {
    agentConfigFile: await secret("agent.json", JSON.stringify(agentConfig, undefined, 2)),
    appSettings: {
      TASKHUB_NAME: "local",
      GCB_REPOSITORY_URL: wiring.repositoryUrl,
      GCB_REPOSITORY_CONNECTION: wiring.repositoryConnection,
      GCB_CONTROL_PLANE_KEY: exportControlPlaneKey(wiring.repository),
      GCB_COMMAND_KEY: JSON.stringify(commandKeys.privateKey),
      GCB_RELAY_ENDPOINT: wiring.relayEndpoint,
      GCB_RELAY_KEY_NAME: rules.send.keyName,
      GCB_RELAY_KEY: rules.send.key,
      GCB_GUEST_CLUSTERS: JSON.stringify([wiring.cluster]),
    },
  };
}
