import fc from "fast-check";
import { expect, test } from "vitest";
import { parseRelayAddress } from "../../lib/relay/index.ts";
import {
  isRendezvousAllowed,
  listenUrl,
  localTarget,
  resourceUri,
  sendUrl,
} from "../../lib/relay/address.ts";
import { backoffMs } from "../../lib/relay/backoff.ts";

const azure = { endpoint: "https://contoso.servicebus.windows.net", path: "agents/host-01" };
const local = { endpoint: "http://127.0.0.1:8080", path: "a" };

test.each([
  [azure, azure],
  [{ ...azure, endpoint: "https://contoso.servicebus.windows.net/" }, azure],
  [{ ...azure, endpoint: "https://contoso.servicebus.windows.net:443" }, azure],
  [local, local],
  [
    { ...local, endpoint: "http://[::1]:5" },
    { ...local, endpoint: "http://[::1]:5" },
  ],
])("%j is a relay address", (given, parsed) => {
  expect(parseRelayAddress(given)).toEqual(parsed);
});

test.each([
  undefined,
  {},
  { ...azure, endpoint: "contoso.servicebus.windows.net" },
  { ...azure, endpoint: "http://contoso.servicebus.windows.net" }, // a token must not travel in clear
  { ...azure, endpoint: "wss://contoso.servicebus.windows.net" },
  { ...azure, endpoint: "https://contoso.servicebus.windows.net/path" },
  { ...azure, endpoint: "https://user@contoso.servicebus.windows.net" },
  { ...azure, path: "" },
  { ...azure, path: "/a" },
  { ...azure, path: "a//b" },
  { ...azure, path: "../a" },
  { ...azure, path: "a?b" },
  { ...azure, path: "a b" },
])("%j is refused with INPUT_INVALID", (given) => {
  expect(() => parseRelayAddress(given)).toThrow(expect.objectContaining({ code: "INPUT_INVALID" }));
});

test("the addresses of one hybrid connection", () => {
  expect(resourceUri(azure)).toBe("http://contoso.servicebus.windows.net/agents/host-01");
  expect(listenUrl(azure, "7")).toBe(
    "wss://contoso.servicebus.windows.net/$hc/agents/host-01?sb-hc-action=listen&sb-hc-id=7",
  );
  expect(sendUrl(azure, "/v1/x?y=%2F").href).toBe(
    "https://contoso.servicebus.windows.net/agents/host-01/v1/x?y=%2F",
  );
});

test.each([
  [azure, "wss://contoso.servicebus.windows.net/$hc/a?x", true],
  [azure, "wss://g0-prod-bn-vaz0001-sb.servicebus.windows.net:443/$hc/a?x", true],
  [azure, "ws://contoso.servicebus.windows.net/$hc/a", false],
  [azure, "wss://contoso.servicebus.windows.net/other", false],
  [azure, "wss://servicebus.windows.net.evil.example/$hc/a", false],
  [azure, "wss://evilservicebus.windows.net/$hc/a", false],
  [azure, "wss://contoso.servicebus.windows.net@evil.example/$hc/a", false],
  [azure, "wss://127.0.0.1/$hc/a", false],
  [azure, "not a url", false],
  [{ ...azure, endpoint: "https://10.0.0.5" }, "wss://6.0.0.5/$hc/a", false],
  [{ ...azure, endpoint: "https://10.0.0.5" }, "wss://10.0.0.5/$hc/a", true],
  [{ ...azure, endpoint: "https://relay" }, "wss://evil.relay/$hc/a", false],
  [local, "ws://127.0.0.1:8080/$hc/a", true],
  [local, "ws://127.0.0.1:8081/$hc/a", false],
  [local, "wss://127.0.0.1:8080/$hc/a", false],
])("from %j the rendezvous %s is allowed: %s", (address, url, isAllowed) => {
  expect(isRendezvousAllowed(address, url)).toBe(isAllowed);
});

test.each([
  ["/agents/host-01", "/"],
  ["/agents/host-01/", "/"],
  ["/Agents/HOST-01/V1?a=1", "/V1?a=1"],
  ["/agents/host-01?sb-hc-token=t&a=1&sb-hc-id=2", "/?a=1"],
  ["/agents/host-01//evil.example/x", "/evil.example/x"],
  ["/agents/host-012", undefined],
  ["/agents", undefined],
  ["/agents/host-01/../host-02", undefined],
  ["//evil.example/agents/host-01/x", undefined],
  ["http://evil.example/agents/host-01/x", undefined],
  ["*", undefined],
])("the request target %s is %s for the handler", (target, expected) => {
  expect(localTarget(azure, target)).toBe(expected);
});

test("whatever the request target, the handler gets none or one that starts with a single slash and stays in place", () => {
  const piece = fc.constantFrom(
    "/agents/host-01",
    "/",
    "..",
    "%2e",
    "\\",
    "?",
    "#",
    "@",
    "x",
    "sb-hc-token=1",
    "&",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece).map((all) => `/agents/host-01${all.join("")}`),
      ),
      (target) => {
        const result = localTarget(azure, target);
        if (result === undefined) return;
        expect(result).toMatch(/^\/(?!\/)/);
        expect(new URL(result, "http://agent.invalid").host).toBe("agent.invalid");
        const { searchParams } = new URL(result, "http://agent.invalid");
        expect([...searchParams.keys()].filter((name) => name.toLowerCase().startsWith("sb-hc-"))).toEqual(
          [],
        );
      },
    ),
    { numRuns: 2_000 },
  );
});

test("waits between attempts are never negative, never over the ceiling, and the ceiling doubles up to the maximum", () => {
  const limits = { baseMs: 500, maxMs: 30_000 };
  expect([0, 1, 2, 3, 6, 1000].map((attempt) => backoffMs(attempt, limits, 1))).toEqual([
    500, 1_000, 2_000, 4_000, 30_000, 30_000,
  ]);
  fc.assert(
    fc.property(fc.nat(), fc.double({ min: 0, max: 1, noNaN: true }), (attempt, random) => {
      const waitMs = backoffMs(attempt, limits, random);
      expect(waitMs).toBeGreaterThanOrEqual(0);
      expect(waitMs).toBeLessThanOrEqual(limits.maxMs);
    }),
  );
});
