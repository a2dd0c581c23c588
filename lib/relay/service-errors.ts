import { BackupError, type BackupErrorCode, type Retry } from "../errors/index.ts";
import type { RelayAddress } from "./address.ts";

type Right = "Listen" | "Send";

/** The error for a status with which the relay service itself (not a listener) refused a handshake or a request. */
export function serviceRefusal(
  status: number,
  right: Right,
  address: RelayAddress,
  description = "",
): BackupError {
  const where = `${address.endpoint}/${address.path}`;
  const [code, retry, what] = meaning(status, right);
  const tracking = printable(description);
  return new BackupError(code, `${where}: ${what}${tracking === "" ? "" : ` (relay says: ${tracking})`}`, {
    retry,
    facts: { endpoint: address.endpoint, path: address.path, status },
  });
}

function meaning(status: number, right: Right): readonly [BackupErrorCode, Retry, string] {
  switch (status) {
    case 401:
      return [
        "RELAY_TOKEN_REFUSED",
        "after-operator",
        "the relay refused the token; check the key or identity, and the clock of this machine",
      ];
    case 403:
      return [
        "RELAY_FORBIDDEN",
        "after-operator",
        `the identity lacks the right ${right}; assign the role Azure Relay ${right === "Send" ? "Sender" : "Listener"}`,
      ];
    case 404:
      return [
        "RELAY_NOT_FOUND",
        "after-operator",
        "there is no such hybrid connection; check endpoint and path",
      ];
    case 502:
    case 503:
      return [
        "RELAY_NO_LISTENER",
        "later",
        "no agent listens; check that the agent's service is running and online",
      ];
    case 504:
      return [
        "RELAY_TIMED_OUT",
        "later",
        "the agent did not answer in time; the request may have been carried out, ask for the operation's state",
      ];
    default:
      return [
        "RELAY_SERVICE_FAILED",
        "later",
        `the relay service answered with status ${status}; it is tried again`,
      ];
  }
}

/** Text of the service for a message: bounded, on one line. */
export function printable(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, " ")
    .trim()
    .slice(0, 200);
}

/** The error for a peer that could not be reached at all: name resolution, TCP, TLS, a cut connection. */
export function unreachable(address: RelayAddress, cause: unknown): BackupError {
  const where = `${address.endpoint}/${address.path}`;
  return new BackupError(
    "RELAY_UNREACHABLE",
    `${where} could not be reached: ${rootMessage(cause)}; check name resolution, proxy and outbound port 443`,
    { retry: "later", facts: { endpoint: address.endpoint, path: address.path }, cause },
  );
}

/** fetch reports every failure as "fetch failed"; the reason stands in its cause. */
function rootMessage(error: unknown): string {
  if (!(error instanceof Error)) return printable(String(error));
  if (error.cause instanceof Error) return rootMessage(error.cause);
  const code = "code" in error && typeof error.code === "string" ? `${error.code} ` : "";
  return printable(`${code}${error.message}`);
}
