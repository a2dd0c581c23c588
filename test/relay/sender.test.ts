import { expect, test } from "vitest";
import { createSender, sasTokenProvider, type SenderOptions } from "../../lib/relay/index.ts";
import { startRelayEmulator } from "../../lib/relay/emulator/index.ts";
import { listen, listenKey, PATH, sender, sendKey, startEmulator } from "./fixtures.ts";

const address = { endpoint: "https://contoso.servicebus.windows.net", path: PATH };
const hour = () => new Date(Date.now() + 3_600_000);

interface Seen {
  url: string;
  init: RequestInit;
}

/** A sender over a fetch that answers from a list and notes what it was given. */
function scripted(answers: (() => Response | Promise<Response>)[], more: Partial<SenderOptions> = {}) {
  const seen: Seen[] = [];
  let tokens = 0;
  const { send } = createSender({
    address,
    token: () => Promise.resolve({ token: `token-${(tokens += 1)}`, expiresAt: hour() }),
    fetch: (url, init = {}) => {
      seen.push({ url: url instanceof Request ? url.url : url.toString(), init });
      const answer = answers[Math.min(seen.length, answers.length) - 1];
      return new Promise((resolve, reject) => {
        init.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
        void Promise.resolve(answer?.() ?? new Response()).then(resolve, reject);
      });
    },
    ...more,
  });
  return { send, seen, tokens: () => tokens };
}

const get = { method: "GET", path: "/v1/operations/a?x=1" };
const header = (seen: Seen | undefined, name: string) => new Headers(seen?.init.headers).get(name);
const answer =
  (status: number, headers: Record<string, string> = {}) =>
  () =>
    new Response(status === 204 ? null : "text", { status, headers });
const listenerMark = { "x-gcb-relay-listener": "1" };

test("a request goes to the hybrid connection's address with the token beside Authorization", async () => {
  const { send, seen } = scripted([answer(200, { "X-Answer": "1", ...listenerMark })]);
  const result = await send({
    ...get,
    headers: { Authorization: "Bearer e2e", ServiceBusAuthorization: "forged" },
  });
  expect(seen[0]?.url).toBe(`https://contoso.servicebus.windows.net/${PATH}/v1/operations/a?x=1`);
  expect(header(seen[0], "authorization")).toBe("Bearer e2e");
  expect(header(seen[0], "servicebusauthorization")).toBe("token-1");
  expect(result).toMatchObject({ status: 200, headers: { "x-answer": "1" } });
  expect(Buffer.from(result.body).toString()).toBe("text");
});

test.each([
  [401, "RELAY_TOKEN_REFUSED", "after-operator"],
  [403, "RELAY_FORBIDDEN", "after-operator"],
  [404, "RELAY_NOT_FOUND", "after-operator"],
  [500, "RELAY_SERVICE_FAILED", "later"],
  [502, "RELAY_NO_LISTENER", "later"],
  [503, "RELAY_NO_LISTENER", "later"],
  [504, "RELAY_TIMED_OUT", "later"],
])("status %i of the relay itself is %s", async (status, code, retry) => {
  const { send } = scripted([answer(status)]);
  await expect(send(get)).rejects.toMatchObject({ code, retry });
});

test.each([401, 403, 404, 500, 503])("status %i of a listener is an answer, not an error", async (status) => {
  expect((await scripted([answer(status, listenerMark)]).send(get)).status).toBe(status);
  expect((await scripted([answer(status, { via: "1.1 contoso" })]).send(get)).status).toBe(status);
});

test.each([502, 504])("status %i is always the relay's, whatever headers it carries", async (status) => {
  await expect(scripted([answer(status, { ...listenerMark, via: "1.1 x" })]).send(get)).rejects.toThrow();
});

test.each([301, 400, 409, 429])("status %i passes as it is", async (status) => {
  expect((await scripted([answer(status)]).send(get)).status).toBe(status);
});

test("one token serves many requests, also requests sent together", async () => {
  const it = scripted([answer(200)]);
  await Promise.all([it.send(get), it.send(get), it.send(get)]);
  await it.send(get);
  expect(it.tokens()).toBe(1);
});

test("a token is replaced when a fifth of its life is left", async () => {
  let nowMs = Date.now();
  const it = scripted([answer(200)], { clock: () => new Date(nowMs) });
  await it.send(get);
  nowMs += 3_600_000 * 0.79;
  await it.send(get);
  expect(it.tokens()).toBe(1);
  nowMs += 3_600_000 * 0.02;
  await it.send(get);
  expect(it.tokens()).toBe(2);
});

test("a kept token that is refused is replaced and the request sent once more; a fresh one is not", async () => {
  const kept = scripted([answer(200), answer(401), answer(200)]);
  await kept.send(get);
  expect((await kept.send(get)).status).toBe(200);
  expect(kept.seen.map((seen) => header(seen, "servicebusauthorization"))).toEqual([
    "token-1",
    "token-1",
    "token-2",
  ]);
  const fresh = scripted([answer(401)]);
  await expect(fresh.send(get)).rejects.toMatchObject({ code: "RELAY_TOKEN_REFUSED" });
  expect(fresh.seen).toHaveLength(1);
});

test("a token provider that fails is RELAY_TOKEN_UNAVAILABLE, and is asked again next time", async () => {
  let calls = 0;
  const { send } = scripted([answer(200)], {
    token: () => {
      calls += 1;
      return calls === 1
        ? Promise.reject(new Error("no identity"))
        : Promise.resolve({ token: "t", expiresAt: hour() });
    },
  });
  await expect(send(get)).rejects.toMatchObject({ code: "RELAY_TOKEN_UNAVAILABLE" });
  expect((await send(get)).status).toBe(200);
});

test("a relay that cannot be reached is RELAY_UNREACHABLE with the reason in its message", async () => {
  const emulator = await startEmulator();
  await emulator.close();
  await expect(sender(emulator.endpoint).send(get)).rejects.toMatchObject({
    code: "RELAY_UNREACHABLE",
    message: expect.stringContaining("ECONNREFUSED") as unknown,
  });
});

test("a request without an answer in time is RELAY_TIMED_OUT", async () => {
  const { send } = scripted([() => new Promise<Response>(() => undefined)], { timeoutMs: 20 });
  await expect(send(get)).rejects.toMatchObject({ code: "RELAY_TIMED_OUT", retry: "later" });
});

test("a token provider that never answers is RELAY_TIMED_OUT as well", async () => {
  const { send } = scripted([answer(200)], { timeoutMs: 20, token: () => new Promise(() => undefined) });
  await expect(send(get)).rejects.toMatchObject({ code: "RELAY_TIMED_OUT" });
});

test("a caller that aborts gets its own reason back, before and while sending", async () => {
  const reason = new Error("the run was cancelled");
  const { send } = scripted([() => new Promise<Response>(() => undefined)]);
  await expect(send({ ...get, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  const abort = new AbortController();
  const sent = send({ ...get, signal: abort.signal });
  abort.abort(reason);
  await expect(sent).rejects.toBe(reason);
});

test("a response over the limit is refused before it is read whole", async () => {
  const part = new Uint8Array(1000);
  let parts = 0;
  const endless = () =>
    new Response(
      new ReadableStream({
        pull(controller) {
          parts += 1;
          controller.enqueue(part);
        },
      }),
    );
  const { send } = scripted([endless], { maxResponseBytes: 10_000 });
  await expect(send(get)).rejects.toMatchObject({ code: "RELAY_RESPONSE_TOO_LARGE" });
  expect(parts).toBeLessThan(20);
});

test.each([
  ["a path without slash", { path: "v1" }],
  ["a path that climbs", { path: "/../other/x" }],
  ["a path that climbs in disguise", { path: "/%2e%2e/%2e%2e/x" }],
  ["a fragment", { path: "/x#y" }],
  ["a method in lower case", { method: "get" }],
  ["a method with a space", { method: "GET /" }],
  ["a body with GET", { body: new Uint8Array(1) }],
  ["a header with a line end", { headers: { a: "b\r\nc: d" } }],
])("%s is refused before anything is sent", async (_what, wrong) => {
  const { send, seen } = scripted([answer(200)]);
  await expect(send({ ...get, ...wrong })).rejects.toMatchObject({ code: "INPUT_INVALID" });
  expect(seen).toEqual([]);
});

test("a token of Entra ID travels as it is, for the listener and for the sender", async () => {
  const expiresAt = hour();
  await using emulator = await startRelayEmulator({
    connections: [
      {
        path: PATH,
        rules: [],
        opaqueTokens: [{ token: "eyJ0.raw.jwt", rights: ["Listen", "Send"], expiresAt }],
      },
    ],
  });
  const token = () => Promise.resolve({ token: "eyJ0.raw.jwt", expiresAt });
  await using listener = listen(emulator.endpoint, () => Promise.resolve({ status: 204 }), { token });
  await listener.ready;
  expect((await sender(emulator.endpoint, { token }).send(get)).status).toBe(204);
});

test("a key with the wrong right is RELAY_FORBIDDEN for the listener and for the sender", async () => {
  await using emulator = await startEmulator();
  await using listener = listen(emulator.endpoint, () => Promise.resolve({ status: 204 }), {
    token: sasTokenProvider(sendKey),
  });
  await expect(listener.ready).rejects.toMatchObject({ code: "RELAY_FORBIDDEN" });
  const wrong = sender(emulator.endpoint, { token: sasTokenProvider(listenKey) });
  await expect(wrong.send(get)).rejects.toMatchObject({ code: "RELAY_FORBIDDEN" });
});
