import { SignJWT, importJWK } from "jose";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { createCommandSigner, generateCommandKeys } from "../../lib/agent/client/index.ts";
import { bodyDigest } from "../../lib/agent/commands/command-claims.ts";
import { createCommandVerifier } from "../../lib/agent/commands/command-verifier.ts";
import { Journal } from "../../lib/agent/journal/journal.ts";
import { newRunId, temporaryFolder } from "./bench.ts";

type Keys = Awaited<ReturnType<typeof generateCommandKeys>>;
let keys: Keys;
let stranger: Keys;
beforeAll(async () => {
  [keys, stranger] = await Promise.all([generateCommandKeys(), generateCommandKeys()]);
});

const runId = newRunId();
const NOW = 1_800_000_000_000;
const command = {
  ...{ agentId: "host-01", method: "PUT", target: `/v1/operations/${runId}.preflight`, runId },
  body: Buffer.from('{"a":1}'),
};

async function verifierAt(now: number, remember: (jti: string, forgetAt: Date) => boolean = memory()) {
  return createCommandVerifier({
    ...{ agentId: "host-01", publicKeys: [keys.publicKey], remember, clock: () => new Date(now) },
  });
}

function memory() {
  const seen = new Set<string>();
  return (jti: string) => {
    const isNew = !seen.has(jti);
    seen.add(jti);
    return isNew;
  };
}

const sign = (by: Keys, changes: Partial<typeof command> = {}) =>
  createCommandSigner(by.privateKey, () => new Date(NOW))({ ...command, ...changes });

test("a command with the right signature is taken, and tells its run", async () => {
  const verify = await verifierAt(NOW);
  expect(await verify({ ...command, authorization: await sign(keys) })).toEqual({ runId });
});

test("either of two configured keys is taken, so that a key can be changed without a gap", async () => {
  const publicKeys = [stranger.publicKey, keys.publicKey];
  const verify = await createCommandVerifier({
    ...{ agentId: "host-01", publicKeys, remember: memory(), clock: () => new Date(NOW) },
  });
  await verify({ ...command, authorization: await sign(keys) });
  await verify({ ...command, authorization: await sign(stranger) });
});

describe("a command is refused", () => {
  test.each<[string, Partial<Record<"method" | "target" | "authorization", string>> & { body?: Buffer }]>([
    ["without signature", { authorization: "" }],
    ["with garbage in its place", { authorization: "Bearer x.y.z" }],
    ["with another scheme", { authorization: "Basic eDp5" }],
    ["with another body", { body: Buffer.from('{"a":2}') }],
    ["with another method", { method: "DELETE" }],
    ["for another resource", { target: `/v1/runs/${runId}` }],
    ["with another query", { target: `${command.target}?x=1` }],
  ])("%s", async (_name, changes) => {
    const verify = await verifierAt(NOW);
    const received = { ...command, authorization: await sign(keys), ...changes };
    await expect(verify(received)).rejects.toMatchObject({ code: "COMMAND_REFUSED" });
  });

  test("by a stranger's key", async () => {
    const verify = await verifierAt(NOW);
    const authorization = await sign(stranger);
    await expect(verify({ ...command, authorization })).rejects.toMatchObject({ code: "COMMAND_REFUSED" });
  });

  test("for another agent", async () => {
    const verify = await verifierAt(NOW);
    const authorization = await sign(keys, { agentId: "host-02" });
    await expect(verify({ ...command, authorization })).rejects.toMatchObject({ code: "COMMAND_REFUSED" });
  });

  test("with an algorithm of its own choice", async () => {
    const verify = await verifierAt(NOW);
    const secret = Buffer.from(String(keys.publicKey.x), "base64url");
    const token = await new SignJWT({ method: "PUT" }).setProtectedHeader({ alg: "HS256" }).sign(secret);
    await expect(verify({ ...command, authorization: `Bearer ${token}` })).rejects.toMatchObject({
      code: "COMMAND_REFUSED",
    });
  });

  test("when its signature would live for a day", async () => {
    const verify = await verifierAt(NOW);
    const token = await new SignJWT({
      ...{ method: command.method, target: command.target, bodySha256: bodyDigest(command.body) },
    })
      .setProtectedHeader({ alg: "EdDSA" })
      .setIssuer("gcb-control-plane")
      .setAudience("host-01")
      .setIssuedAt(NOW / 1000)
      .setExpirationTime(NOW / 1000 + 86_400)
      .setJti("0123456789abcdef")
      .sign(await importJWK(keys.privateKey, "EdDSA"));
    await expect(verify({ ...command, authorization: `Bearer ${token}` })).rejects.toMatchObject({
      code: "COMMAND_EXPIRED",
    });
  });

  test.each([
    ["three minutes and a second after it was signed", 181_000],
    ["a minute and a second before it was signed", -61_000],
  ])("%s", async (_name, laterMs) => {
    const verify = await verifierAt(NOW + laterMs);
    await expect(verify({ ...command, authorization: await sign(keys) })).rejects.toMatchObject({
      code: "COMMAND_EXPIRED",
    });
  });

  test("the second time, also by an agent that was restarted in between", async () => {
    await using folder = await temporaryFolder();
    const authorization = await sign(keys);
    const file = join(folder.path, "journal.sqlite");
    const attempt = async () => {
      using journal = Journal.open(file, () => new Date(NOW));
      const verify = await verifierAt(NOW, (jti, forgetAt) => journal.rememberCommand(jti, forgetAt));
      return await verify({ ...command, authorization });
    };
    await attempt();
    await expect(attempt()).rejects.toMatchObject({ code: "COMMAND_REPLAYED" });
  });
});

test("a command is remembered for as long as it could be accepted", async () => {
  await using folder = await temporaryFolder();
  let now = NOW;
  using journal = Journal.open(join(folder.path, "journal.sqlite"), () => new Date(now));
  const remember = (jti: string, forgetAt: Date) => journal.rememberCommand(jti, forgetAt);
  const authorization = await sign(keys);
  await (
    await verifierAt(now, remember)
  )({ ...command, authorization });
  now = NOW + 179_000;
  await expect((await verifierAt(now, remember))({ ...command, authorization })).rejects.toMatchObject({
    code: "COMMAND_REPLAYED",
  });
});

test("a clock that differs by up to a minute is tolerated", async () => {
  for (const laterMs of [-59_000, 59_000, 175_000]) {
    const verify = await verifierAt(NOW + laterMs);
    await verify({ ...command, authorization: await sign(keys) });
  }
});

test("a private key in the agent's configuration is refused, without showing it", async () => {
  const attempt = createCommandVerifier({
    ...{ agentId: "host-01", publicKeys: [keys.privateKey], remember: memory(), clock: () => new Date(NOW) },
  });
  const error: unknown = await attempt.catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "AGENT_CONFIG_INVALID" });
  expect(JSON.stringify(error)).not.toContain(String(keys.privateKey.d));
});
