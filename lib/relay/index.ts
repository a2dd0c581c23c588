export { parseRelayAddress, resourceUri, type RelayAddress } from "./address.ts";
export type { ConnectOptions } from "./dial.ts";
export { startListener, type ListenerOptions, type ListenerState, type RelayListener } from "./listener.ts";
export {
  createSender,
  type RelaySender,
  type SenderOptions,
  type SenderRequest,
  type SenderResponse,
} from "./sender.ts";
export {
  entraTokenProvider,
  sasTokenProvider,
  type RelayCredential,
  type RelayToken,
  type TokenProvider,
} from "./tokens.ts";
export type { RelayLog, RelayRequest, RelayResponse } from "./types.ts";
