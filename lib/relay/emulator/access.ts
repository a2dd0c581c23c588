import { createHmac, timingSafeEqual } from "node:crypto";

export type RelayRight = "Listen" | "Send" | "Manage";

/** A shared access rule of one hybrid connection. */
export interface AccessRule {
  readonly keyName: string;
  readonly key: string;
  readonly rights: readonly RelayRight[];
}

/** A token that stands for one of Microsoft Entra ID: compared as a whole, without a signature. */
export interface OpaqueToken {
  readonly token: string;
  readonly rights: readonly RelayRight[];
  readonly expiresAt: Date;
}

export interface AccessPolicy {
  readonly path: string;
  readonly rules: readonly AccessRule[];
  readonly opaqueTokens?: readonly OpaqueToken[];
}

/** 401: no token, or not a valid one. 403: a valid one that does not give the right. */
export type AccessDecision =
  | { readonly isGranted: true; readonly expiresAt: Date }
  | { readonly isGranted: false; readonly status: 401 | 403; readonly reason: string };

/** Decides as the service does: signature, expiry, resource, right. "Manage" includes the other two. */
export function decideAccess(
  policy: AccessPolicy,
  token: string | undefined,
  right: "Listen" | "Send",
  context: { readonly host: string; readonly now: Date },
): AccessDecision {
  if (token === undefined || token === "") return refuse(401, "MissingToken: a token is needed");
  const opaque = policy.opaqueTokens?.find((candidate) => candidate.token === token);
  if (opaque !== undefined) return decideRight(opaque.rights, right, opaque.expiresAt, context.now);
  if (!token.startsWith("SharedAccessSignature "))
    return refuse(401, "MalformedToken: unknown kind of token");

  const fields = new Map(
    token
      .slice("SharedAccessSignature ".length)
      .split("&")
      .map((item): [string, string] => {
        const at = item.indexOf("=");
        return [item.slice(0, at), item.slice(at + 1)];
      }),
  );
  const resource = fields.get("sr") ?? "";
  const expiry = fields.get("se") ?? "";
  const keyName = decode(fields.get("skn") ?? "");
  const rule = policy.rules.find((candidate) => candidate.keyName === keyName);
  if (rule === undefined || !/^\d{1,12}$/.test(expiry))
    return refuse(401, "InvalidSignature: unknown rule or expiry");

  const expected = createHmac("sha256", rule.key).update(`${resource}\n${expiry}`).digest();
  const given = Buffer.from(decode(fields.get("sig") ?? "") ?? "", "base64");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    return refuse(401, "InvalidSignature: the token has an invalid signature");
  }
  if (!covers(decode(resource) ?? "", `http://${context.host}/${policy.path}`)) {
    return refuse(403, "InvalidAudience: the token is for another resource");
  }
  return decideRight(rule.rights, right, new Date(Number(expiry) * 1000), context.now);
}

function decideRight(
  rights: readonly RelayRight[],
  right: RelayRight,
  expiresAt: Date,
  now: Date,
): AccessDecision {
  if (expiresAt.getTime() <= now.getTime()) return refuse(401, "ExpiredToken: the token is expired");
  const isGranted = rights.includes(right) || rights.includes("Manage");
  return isGranted ? { isGranted, expiresAt } : refuse(403, `Unauthorized: the right ${right} is required`);
}

/** A token for a resource is good for everything under it: `http://ns` covers `http://ns/path`. */
function covers(resource: string, uri: string): boolean {
  const prefix = resource.toLowerCase().replace(/\/+$/, "");
  const wanted = uri.toLowerCase();
  return wanted === prefix || wanted.startsWith(`${prefix}/`);
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function refuse(status: 401 | 403, reason: string): AccessDecision {
  return { isGranted: false, status, reason };
}
