import { randomUUID } from "node:crypto";
import { exportJWK, generateKeyPair, importJWK, SignJWT, type JWK } from "jose";
import { ALGORITHM, bodyDigest, COMMAND_LIFETIME_S, ISSUER, type CommandToSign } from "./command-claims.ts";

/** Gives the value of the `Authorization` header for one command. */
export type CommandSigner = (command: CommandToSign) => Promise<string>;

/** @param privateKey Ed25519 key as JWK, as `generateCommandKeys` makes it */
export function createCommandSigner(privateKey: JWK, clock: () => Date = () => new Date()): CommandSigner {
  const key = importJWK(privateKey, ALGORITHM);
  key.catch(() => undefined); // a wrong key is told to whoever signs with it
  return async ({ agentId, method, target, body, runId }) => {
    const issuedAt = Math.floor(clock().getTime() / 1000);
    const token = await new SignJWT({
      ...{ method, target, bodySha256: bodyDigest(body) },
      ...(runId === undefined ? {} : { run: runId }),
    })
      .setProtectedHeader({
        alg: ALGORITHM,
        ...(privateKey.kid === undefined ? {} : { kid: privateKey.kid }),
      })
      .setIssuer(ISSUER)
      .setAudience(agentId)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + COMMAND_LIFETIME_S)
      .setJti(randomUUID())
      .sign(await key);
    return `Bearer ${token}`;
  };
}

/** A new key pair: the private half for the function app, the public one for the agents' configuration. */
export async function generateCommandKeys(): Promise<{ readonly privateKey: JWK; readonly publicKey: JWK }> {
  const pair = await generateKeyPair(ALGORITHM, { crv: "Ed25519", extractable: true });
  const kid = randomUUID();
  const [privateKey, publicKey] = await Promise.all([exportJWK(pair.privateKey), exportJWK(pair.publicKey)]);
  return { privateKey: { ...privateKey, kid }, publicKey: { ...publicKey, kid } };
}
