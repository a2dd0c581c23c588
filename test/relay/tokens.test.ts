import { expect, test } from "vitest";
import { entraTokenProvider, sasTokenProvider } from "../../lib/relay/index.ts";
import { obtainToken, renewalTime } from "../../lib/relay/tokens.ts";

const address = { endpoint: "https://contoso.servicebus.windows.net", path: "agents/host-01" };
const now = new Date("2016-08-20T10:22:34Z");

test("a shared access signature is the one that an independent implementation gives", async () => {
  // python3: hmac.new(key, quote(uri, safe="") + "\n" + expiry, sha256), base64, quoted
  const provider = sasTokenProvider({
    keyName: "listen rule",
    key: "a key+/=",
    ttlMs: 3_600_000,
    clock: () => now,
  });
  const { token, expiresAt } = await obtainToken(provider, address);
  expect(token).toBe(
    "SharedAccessSignature sr=http%3A%2F%2Fcontoso.servicebus.windows.net%2Fagents%2Fhost-01" +
      "&sig=mUcSD3R0WGxzDrdYFnsn5fQp5%2BCRSZvNM%2FbeiTOsxmA%3D&se=1471692154&skn=listen%20rule",
  );
  expect(expiresAt).toEqual(new Date("2016-08-20T11:22:34Z"));
});

test("a token of Entra ID is asked for with the relay's scope and passed on raw", async () => {
  const scopes: string[] = [];
  const provider = entraTokenProvider({
    getToken: (scope) => {
      scopes.push(scope);
      return Promise.resolve({ token: "raw.jwt", expiresOnTimestamp: now.getTime() });
    },
  });
  expect(await obtainToken(provider, address)).toEqual({ token: "raw.jwt", expiresAt: now });
  expect(scopes).toEqual(["https://relay.azure.net/.default"]);
});

test.each([
  ["fails", () => Promise.reject(new Error("down"))],
  ["gives an empty token", () => Promise.resolve({ token: "", expiresAt: now })],
  ["gives a token with a line end", () => Promise.resolve({ token: "a\r\nb", expiresAt: now })],
  ["gives no valid expiry", () => Promise.resolve({ token: "a", expiresAt: new Date(NaN) })],
  ["has a credential without token", entraTokenProvider({ getToken: () => Promise.resolve(null) })],
])("a provider that %s is RELAY_TOKEN_UNAVAILABLE", async (_what, provider) => {
  await expect(obtainToken(provider, address)).rejects.toMatchObject({ code: "RELAY_TOKEN_UNAVAILABLE" });
});

test.each([
  [3_600, 2_880],
  [60, 48],
  [0, 0],
  [-100, 0],
])("a token with %i s left is renewed after %i s", (leftSeconds, afterSeconds) => {
  const expiresAt = new Date(now.getTime() + leftSeconds * 1000);
  expect(renewalTime({ token: "t", expiresAt }, now).getTime() - now.getTime()).toBe(afterSeconds * 1000);
});
