/**
 * The control plane's side of an agent: `createAgentClient` sends commands, `createCommandSigner` signs them,
 * `generateCommandKeys` makes the key pair. Loads neither the journal nor any handler.
 */
export { createCommandSigner, generateCommandKeys, type CommandSigner } from "../commands/command-signer.ts";
export {
  createAgentClient,
  type AgentClient,
  type AgentClientOptions,
  type OperationStateOf,
} from "./agent-client.ts";
