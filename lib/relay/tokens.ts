import { createHmac } from "node:crypto";
import { BackupError } from "../errors/index.ts";
import { resourceUri, type RelayAddress } from "./address.ts";

export interface RelayToken {
  readonly token: string;
  readonly expiresAt: Date;
}

/** Gives a token for `http://{namespace host}/{path}`; called again whenever the last one nears its end. */
export type TokenProvider = (resourceUri: string) => Promise<RelayToken>;

/** The scope under which Microsoft Entra ID gives tokens for Azure Relay. */
export const RELAY_SCOPE = "https://relay.azure.net/.default";

const HOUR_MS = 3_600_000;

/**
 * Tokens signed with a shared access key.
 * Layout: "Service Bus access control with Shared Access Signatures"; the signature covers the encoded URI, a line
 * feed and the expiry in Unix seconds. The key is used as text, not decoded from base64.
 */
export function sasTokenProvider(options: {
  readonly keyName: string;
  readonly key: string;
  /** How long a token is good for. Default one hour. */
  readonly ttlMs?: number;
  readonly clock?: () => Date;
}): TokenProvider {
  const { keyName, key, ttlMs = HOUR_MS, clock = () => new Date() } = options;
  return (uri) => {
    const expirySeconds = Math.ceil((clock().getTime() + ttlMs) / 1000);
    const resource = encodeURIComponent(uri);
    const signature = createHmac("sha256", key)
      .update(`${resource}\n${String(expirySeconds)}`)
      .digest("base64");
    const token =
      `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}` +
      `&se=${String(expirySeconds)}&skn=${encodeURIComponent(keyName)}`;
    return Promise.resolve({ token, expiresAt: new Date(expirySeconds * 1000) });
  };
}

/** What this room needs of an `@azure/identity` credential. */
export interface RelayCredential {
  getToken(scope: string): Promise<{ readonly token: string; readonly expiresOnTimestamp: number } | null>;
}

/**
 * Tokens of Microsoft Entra ID, sent raw (without "Bearer"), as the .NET listener does.
 * The identity needs the role Azure Relay Listener or Azure Relay Sender on the hybrid connection.
 */
export function entraTokenProvider(credential: RelayCredential): TokenProvider {
  return async () => {
    const given = await credential.getToken(RELAY_SCOPE);
    if (given === null) throw new Error(`the credential gave no token for ${RELAY_SCOPE}`);
    return { token: given.token, expiresAt: new Date(given.expiresOnTimestamp) };
  };
}

/** @throws BackupError RELAY_TOKEN_UNAVAILABLE; its message never holds the token */
export async function obtainToken(provider: TokenProvider, address: RelayAddress): Promise<RelayToken> {
  const uri = resourceUri(address);
  let given: RelayToken;
  try {
    given = await provider(uri);
  } catch (cause) {
    throw unavailable(uri, "the token provider failed", cause);
  }
  // It becomes an HTTP header: anything but printable ASCII would break or split it.
  if (!/^[\x20-\x7e]+$/.test(given.token)) throw unavailable(uri, "the token is empty or not printable");
  if (Number.isNaN(given.expiresAt.getTime())) throw unavailable(uri, "the token has no expiry");
  return given;
}

function unavailable(uri: string, what: string, cause?: unknown): BackupError {
  return new BackupError(
    "RELAY_TOKEN_UNAVAILABLE",
    `no token for ${uri}: ${what}; check the identity or the shared access key of this machine`,
    { retry: "later", facts: { resource: uri }, cause },
  );
}

/** Keeps a token until a fifth of its life is left. Calls that come together share one request for a new token. */
export interface TokenCache {
  /** @returns the token, and whether it was asked for just now */
  get(): Promise<{ readonly token: string; readonly isFresh: boolean }>;
  /** Forgets this token, e.g. because the relay refused it. */
  drop(token: string): void;
}

export function createTokenCache(
  provider: TokenProvider,
  address: RelayAddress,
  clock: () => Date = () => new Date(),
): TokenCache {
  let held: { readonly token: string; readonly renewAtMs: number } | undefined;
  let pending: Promise<string> | undefined;

  async function obtain(): Promise<string> {
    const given = await obtainToken(provider, address);
    held = { token: given.token, renewAtMs: renewalTime(given, clock()).getTime() };
    return given.token;
  }

  return {
    async get() {
      if (held !== undefined && clock().getTime() < held.renewAtMs)
        return { token: held.token, isFresh: false };
      pending ??= obtain().finally(() => (pending = undefined));
      return { token: await pending, isFresh: true };
    },
    drop(token) {
      if (held?.token === token) held = undefined;
    },
  };
}

/** When to replace a token that was obtained at `now`: after four fifths of the life that it has left. */
export function renewalTime(token: RelayToken, now: Date): Date {
  const leftMs = Math.max(0, token.expiresAt.getTime() - now.getTime());
  return new Date(now.getTime() + leftMs * 0.8);
}
