/**
 * Figures of the Hybrid Connections protocol. Source of all: "Azure Relay Hybrid Connections protocol"
 * (azure-docs, articles/azure-relay/relay-hybrid-connections-protocol.md) and "Azure Relay FAQs".
 */

/** Largest request or response, text frame and body together, that this room puts on a control channel. */
export const CONTROL_MESSAGE_BYTES = 64 * 1024;

/** Largest header frame on a control channel. */
export const CONTROL_HEADER_BYTES = 32 * 1024;

/** What a listener reads from a control channel at most; more than the protocol allows, so nothing valid is cut. */
export const CONTROL_READ_BYTES = 256 * 1024;

/** The service answers the sender with 504 when no response frame came within this time. */
export const RESPONSE_TIMEOUT_MS = 60_000;

/** How long a rendezvous address can be used, once. */
export const RENDEZVOUS_VALID_MS = 30_000;

/** Listeners on one hybrid connection. */
export const MAX_LISTENERS = 25;

/** Statuses that only the service may send. */
export const RESERVED_STATUSES: ReadonlySet<number> = new Set([502, 504]);

/** A body is written in fragments of this size, so that one large answer never sits in the socket's buffer whole. */
export const FRAGMENT_BYTES = 64 * 1024;
