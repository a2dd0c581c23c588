import { errors, importJWK, jwtVerify, type CryptoKey, type JWK } from "jose";
import type { RunId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import {
  ALGORITHM,
  bodyDigest,
  CLOCK_SKEW_S,
  COMMAND_LIFETIME_S,
  CommandClaims,
  ISSUER,
} from "./command-claims.ts";

export interface ReceivedCommand {
  readonly authorization: string | undefined;
  readonly method: string;
  readonly target: string;
  readonly body: Uint8Array;
}

export interface CommandVerifierOptions {
  readonly agentId: string;
  /** Several, so that the control plane's key can be changed without a gap. */
  readonly publicKeys: readonly JWK[];
  /** False when the id was seen before. Must outlive a restart. */
  readonly remember: (jti: string, forgetAt: Date) => boolean;
  readonly clock: () => Date;
}

/** What a valid signature allows: this request, for this run. */
export interface VerifiedCommand {
  readonly runId: RunId | undefined;
}

export type CommandVerifier = (command: ReceivedCommand) => Promise<VerifiedCommand>;

/**
 * Accepts a command only from a known key, for this agent, for exactly this request, in time, and once.
 *
 * @throws BackupError COMMAND_REFUSED, COMMAND_EXPIRED, COMMAND_REPLAYED; AGENT_CONFIG_INVALID when a key is none
 */
export async function createCommandVerifier(options: CommandVerifierOptions): Promise<CommandVerifier> {
  const { agentId, remember, clock } = options;
  const keys = await Promise.all(options.publicKeys.map(importPublicKey));
  return async ({ authorization, method, target, body }) => {
    const token = /^Bearer ([A-Za-z0-9_.-]{1,4096})$/.exec(authorization ?? "")?.[1];
    if (token === undefined) throw refused("it carries no signature");
    const claims = CommandClaims.safeParse(await firstValid(token, keys, { agentId, now: clock() }));
    if (!claims.success) throw refused("its signature lacks what this version demands");
    const { jti, exp, iat, run, ...signed } = claims.data;
    const now = clock().getTime() / 1000;
    if (exp - iat > COMMAND_LIFETIME_S || iat > now + CLOCK_SKEW_S) throw expired(now - iat);
    if (signed.method !== method || signed.target !== target)
      throw refused("it was signed for another request");
    if (signed.bodySha256 !== bodyDigest(body)) throw refused("its body is not the one that was signed");
    if (!remember(jti, new Date((exp + CLOCK_SKEW_S + 1) * 1000))) {
      throw new BackupError("COMMAND_REPLAYED", `${method} ${target} was sent a second time and is refused`, {
        retry: "later",
      });
    }
    return { runId: run };
  };
}

async function firstValid(
  token: string,
  keys: readonly (CryptoKey | Uint8Array)[],
  { agentId, now }: { readonly agentId: string; readonly now: Date },
): Promise<unknown> {
  let reason: unknown;
  for (const key of keys) {
    try {
      const { payload } = await jwtVerify(token, key, {
        ...{ issuer: ISSUER, audience: agentId, algorithms: [ALGORITHM] },
        ...{ clockTolerance: CLOCK_SKEW_S, currentDate: now },
      });
      return payload;
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw expired(now.getTime() / 1000 - Number(error.payload.iat));
      if (error instanceof errors.JWTClaimValidationFailed)
        throw refused(`its ${error.claim} is not for this agent`);
      reason = error;
    }
  }
  throw refused("no configured key made its signature", reason);
}

async function importPublicKey(jwk: JWK): Promise<CryptoKey | Uint8Array> {
  try {
    if (jwk.d !== undefined) throw new TypeError("it is a private key");
    return await importJWK(jwk, ALGORITHM);
  } catch (cause) {
    throw new BackupError(
      "AGENT_CONFIG_INVALID",
      `a key in controlPlanePublicKeys is no Ed25519 public key (${cause instanceof Error ? cause.message : "unreadable"})`,
      { retry: "after-operator" },
    );
  }
}

function refused(why: string, cause?: unknown): BackupError {
  return new BackupError(
    "COMMAND_REFUSED",
    `the command is refused: ${why}; check controlPlanePublicKeys and agentId in the agent's configuration`,
    { retry: "after-operator", cause },
  );
}

function expired(ageSeconds: number): BackupError {
  const seconds = Number.isFinite(ageSeconds) ? Math.round(ageSeconds) : 0;
  return new BackupError(
    "COMMAND_EXPIRED",
    `the command was signed ${seconds} s ago by its own clock; set the clocks of function app and host`,
    { retry: "later", facts: { ageSeconds: seconds } },
  );
}
