/**
 * Azure Relay Hybrid Connections on one machine, for tests, trials and the demonstration. Nothing of the product
 * may import this folder; docs/relay.md lists what is protocol and what is a guess.
 */
export type { AccessRule, OpaqueToken, RelayRight } from "./access.ts";
export type { RelayFault } from "./faults.ts";
export type { EmulatedConnection } from "./entities.ts";
export { startRelayEmulator, type RelayEmulator, type RelayEmulatorOptions } from "./server.ts";
