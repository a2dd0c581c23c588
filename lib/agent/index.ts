/**
 * The host agent: `startAgent` runs it over a HyperVHost, `readAgentConfig` reads its configuration file, `jsonLinesLog` is its
 * log. The control plane's side is in `client/`.
 */
export { AgentConfig, readAgentConfig } from "./config.ts";
export type * from "./hyperv-host.ts";
export { jsonLinesLog, redact, type AgentLog } from "./log.ts";
export { startAgent, type AgentOptions, type RunningAgent } from "./service.ts";
