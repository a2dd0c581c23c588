import { createHash } from "node:crypto";
import * as z from "zod";
import { RunId } from "../../contracts/index.ts";

/*
 * A command's signature is a JWT (EdDSA) in `Authorization: Bearer …`. It names exactly one request to exactly one agent, so that
 * whoever listens in on the Relay, or owns it, can neither change a command nor use it again or elsewhere.
 */

export const ISSUER = "gcb-control-plane";
export const ALGORITHM = "EdDSA";
/** A command is good for this long after it was signed. */
export const COMMAND_LIFETIME_S = 120;
/** How far the clocks of function app and host may be apart. */
export const CLOCK_SKEW_S = 60;

export const CommandClaims = z.object({
  iss: z.literal(ISSUER),
  aud: z.string(),
  iat: z.int(),
  exp: z.int(),
  /** Unique for each command; remembered by the agent. */
  jti: z.string().min(16).max(64),
  method: z.string(),
  /** Path and query. */
  target: z.string(),
  /** SHA-256 of the body in base64url; of no bytes when there is none. */
  bodySha256: z.string(),
  /** The run it belongs to; absent for questions about the agent itself. */
  run: RunId.optional(),
});

export interface CommandToSign {
  readonly agentId: string;
  readonly method: string;
  readonly target: string;
  readonly body: Uint8Array;
  readonly runId?: RunId;
}

export function bodyDigest(body: Uint8Array): string {
  return createHash("sha256").update(body).digest("base64url");
}
