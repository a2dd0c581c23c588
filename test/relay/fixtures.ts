import { randomBytes } from "node:crypto";
import {
  createSender,
  sasTokenProvider,
  startListener,
  type ListenerOptions,
  type RelayListener,
  type RelayRequest,
  type RelayResponse,
  type SenderOptions,
} from "../../lib/relay/index.ts";
import { startRelayEmulator, type RelayEmulatorOptions } from "../../lib/relay/emulator/index.ts";

export const PATH = "agents/host-01";
export const listenKey = { keyName: "agent", key: "listen-key-of-the-tests" };
export const sendKey = { keyName: "control-plane", key: "send-key-of-the-tests" };

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly facts: Readonly<Record<string, string | number | boolean>>;
}

/** A log that a test can read. */
export function recordingLog(): { lines: LogLine[]; log: ListenerOptions["log"]; codes(): unknown[] } {
  const lines: LogLine[] = [];
  return {
    lines,
    log: (level, message, facts = {}) => void lines.push({ level, message, facts }),
    codes: () => lines.map((line) => line.facts["code"]).filter((code) => code !== undefined),
  };
}

/** An emulator with one hybrid connection that knows both keys. */
export function startEmulator(options: Partial<RelayEmulatorOptions> = {}) {
  return startRelayEmulator({
    connections: [
      {
        path: PATH,
        rules: [
          { ...listenKey, rights: ["Listen"] },
          { ...sendKey, rights: ["Send"] },
        ],
      },
    ],
    ...options,
  });
}

/** A listener with short waits. */
export function listen(
  endpoint: string,
  handle: (request: RelayRequest) => Promise<RelayResponse>,
  options: Partial<ListenerOptions> = {},
): RelayListener {
  return startListener({
    address: { endpoint, path: PATH },
    token: sasTokenProvider(listenKey),
    handle,
    log: () => undefined,
    reconnect: { baseMs: 20, maxMs: 50 },
    ...options,
  });
}

export function sender(endpoint: string, options: Partial<SenderOptions> = {}) {
  return createSender({ address: { endpoint, path: PATH }, token: sasTokenProvider(sendKey), ...options });
}

/** Answers with what came in, so that one round trip shows both directions. */
export const echo = (request: RelayRequest): Promise<RelayResponse> => {
  const { method, target, headers, body } = request;
  return Promise.resolve({
    status: 200,
    headers: { "x-method": method, "x-target": target, "x-headers": JSON.stringify(headers) },
    body,
  });
};

export const bytes = (length: number): Uint8Array => new Uint8Array(randomBytes(length));

/** Waits until a condition holds; the test's own time-out is the limit. */
export async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 5));
}
