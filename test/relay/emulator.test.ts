import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { resourceUri, sasTokenProvider } from "../../lib/relay/index.ts";
import { startRelayEmulator, type RelayEmulator } from "../../lib/relay/emulator/index.ts";
import { listen, listenKey, PATH, sendKey, startEmulator, until } from "./fixtures.ts";

// The emulator against hand-made clients: what the documentation says of the service, without our listener's help.

const manageKey = { keyName: "root", key: "manage-key" };

function start(more: { responseTimeoutMs?: number } = {}) {
  return startRelayEmulator({
    connections: [
      {
        path: PATH,
        rules: [
          { ...listenKey, rights: ["Listen"] },
          { ...sendKey, rights: ["Send"] },
          { ...manageKey, rights: ["Manage"] },
        ],
        opaqueTokens: [{ token: "entra", rights: ["Send"], expiresAt: new Date(Date.now() + 3_600_000) }],
      },
      { path: "open", rules: [{ ...listenKey, rights: ["Listen"] }], requiresClientAuthorization: false },
    ],
    ...more,
  });
}

async function sas(
  emulator: RelayEmulator,
  key: typeof sendKey,
  path = PATH,
  clock?: () => Date,
): Promise<string> {
  const provider = sasTokenProvider({ ...key, ...(clock === undefined ? {} : { clock }) });
  return (await provider(resourceUri({ endpoint: emulator.endpoint, path }))).token;
}

interface Answer {
  status: number;
  reason: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** A request by node:http, which unlike fetch sends any header. */
function call(
  emulator: RelayEmulator,
  options: {
    path?: string;
    method?: string;
    headers?: Record<string, string>;
    body?: string | Uint8Array;
  } = {},
): Promise<Answer> {
  const { path = `/${PATH}`, method = "GET", headers = {}, body } = options;
  return new Promise((resolve, reject) => {
    const sent = httpRequest(`${emulator.endpoint}${path}`, { method, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("error", reject).on("end", () => {
        const { statusCode = 0, statusMessage = "" } = response;
        resolve({ status: statusCode, reason: statusMessage, headers: response.headers, body: text });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

interface Frame {
  request?: {
    id: string;
    address: string;
    requestTarget: string;
    method: string;
    requestHeaders: Record<string, string>;
    body: boolean;
  };
  accept?: { address: string; id: string; connectHeaders: Record<string, string> };
}

/** A listener that only records frames. */
async function rawListener(emulator: RelayEmulator, path = PATH) {
  const url = `${emulator.endpoint.replace("http", "ws")}/$hc/${path}?sb-hc-action=listen`;
  const socket = new WebSocket(url, {
    headers: { ServiceBusAuthorization: await sas(emulator, listenKey, path) },
  });
  const frames: (Frame | Buffer)[] = [];
  socket.on("message", (data, isBinary) => {
    const bytes = data as Buffer;
    frames.push(isBinary ? bytes : (JSON.parse(bytes.toString("utf8")) as Frame));
  });
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  return {
    socket,
    frames,
    async next(): Promise<Frame & Buffer> {
      await until(() => frames.length > 0);
      return frames.shift() as Frame & Buffer;
    },
    answer: (requestId: string, more: Record<string, unknown> = {}) =>
      socket.send(
        JSON.stringify({
          response: { requestId, statusCode: 200, responseHeaders: {}, body: false, ...more },
        }),
      ),
  };
}

interface Handshake {
  status: number;
  socket: WebSocket;
  /** Also those that come together with the handshake's answer. */
  messages: Buffer[];
}

/** Opens a WebSocket and gives the status with which it was refused, or 101. */
function handshake(url: string, headers: Record<string, string> = {}): Promise<Handshake> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { headers });
    const messages: Buffer[] = [];
    socket.on("message", (data) => messages.push(data as Buffer));
    socket.once("open", () => resolve({ status: 101, socket, messages }));
    socket.on("error", reject);
    socket.once("unexpected-response", (request, response) => {
      request.destroy();
      resolve({ status: response.statusCode ?? 0, socket, messages });
    });
  });
}

const hc = (emulator: RelayEmulator, path: string, query: string) =>
  `${emulator.endpoint.replace("http", "ws")}/$hc/${path}?${query}`;

test("a sender without listener gets 502 and no Via", async () => {
  await using emulator = await start();
  const answer = await call(emulator, { headers: { ServiceBusAuthorization: await sas(emulator, sendKey) } });
  expect(answer.status).toBe(502);
  expect(answer.headers.via).toBeUndefined();
});

test("a sender is refused with 404 for an unknown path and with 401 or 403 for a token that does not do", async () => {
  await using emulator = await start();
  const expired = () => new Date(Date.now() - 7_200_000);
  const wrongKey = await sas(emulator, { ...sendKey, key: "other" });
  const cases: [number, string | undefined, string?][] = [
    [404, await sas(emulator, sendKey), "/agents/host-011"],
    [404, await sas(emulator, sendKey), "/agents"],
    [401, undefined],
    [401, "Bearer x"],
    [401, "SharedAccessSignature "],
    [401, "SharedAccessSignature sr=%zz&sig=%zz&se=1&skn=%zz"],
    [401, wrongKey],
    [401, await sas(emulator, sendKey, PATH, expired)],
    [401, (await sas(emulator, sendKey)).replace(/se=\d+/, "se=9999999999")],
    [403, await sas(emulator, listenKey)],
    [403, await sas(emulator, sendKey, "open")],
    [502, await sas(emulator, manageKey)],
    [502, await sas(emulator, sendKey, "agents")],
    [502, "entra"],
  ];
  for (const [status, token, path = `/${PATH}/x`] of cases) {
    const headers = token === undefined ? {} : { ServiceBusAuthorization: token };
    expect((await call(emulator, { path, headers })).status, token).toBe(status);
  }
});

test("a listener is refused with 404, 401, 403, and with 400 for an unknown action", async () => {
  await using emulator = await start();
  const good = { ServiceBusAuthorization: await sas(emulator, listenKey) };
  const url = (path: string, action: string) => hc(emulator, path, `sb-hc-action=${action}`);
  expect((await handshake(url("agents/none", "listen"), good)).status).toBe(404);
  expect((await handshake(`${emulator.endpoint.replace("http", "ws")}/${PATH}`, good)).status).toBe(404);
  expect((await handshake(url(PATH, "listen"))).status).toBe(401);
  expect((await handshake(url(PATH, "listen"), { ServiceBusAuthorization: "entra" })).status).toBe(403);
  expect((await handshake(url(PATH, "dance"), good)).status).toBe(400);
  expect((await handshake(url(PATH, "request"), good)).status).toBe(403);
  const query = `sb-hc-action=listen&sb-hc-token=${encodeURIComponent(await sas(emulator, listenKey))}`;
  expect((await handshake(hc(emulator, PATH, query))).status).toBe(101);
});

test("the twenty-sixth listener is refused", async () => {
  await using emulator = await start();
  for (let count = 0; count < 25; count += 1) await rawListener(emulator);
  expect(emulator.listenerCount(PATH)).toBe(25);
  await expect(rawListener(emulator)).rejects.toThrow(/429/);
});

test("the request frame carries target, method and headers, stripped of what concerns the relay", async () => {
  await using emulator = await start();
  const listener = await rawListener(emulator);
  const answered = call(emulator, {
    path: `/${PATH}/a%2Fb?x=1&sb-hc-token=ignored&SB-HC-ID=7&y=a+b`.replace(
      "ignored",
      encodeURIComponent(await sas(emulator, sendKey)),
    ),
    method: "PATCH",
    headers: {
      Authorization: "Bearer mine",
      ServiceBusAuthorization: "stripped-in-any-case",
      Connection: "close",
      TE: "trailers",
      "X-Case": "Kept",
      Via: "1.0 before",
    },
    body: "hello",
  });
  const { request } = await listener.next();
  expect(request).toMatchObject({
    requestTarget: `/${PATH}/a%2Fb?x=1&y=a+b`,
    method: "PATCH",
    body: true,
  });
  const host = emulator.endpoint.slice("http://".length);
  expect(request?.requestHeaders).toEqual({
    Authorization: "Bearer mine",
    "X-Case": "Kept",
    Via: `1.0 before, 1.1 ${host}`,
  });
  expect((await listener.next()).toString("utf8")).toBe("hello");
  listener.answer(request?.id ?? "", {
    statusCode: "418", // the documentation's example has text here
    statusDescription: "short and stout",
    responseHeaders: { "X-Answer": "1", "set-cookie": ["a=1", "b=2"] },
    body: true,
  });
  listener.socket.send(Buffer.from("tea"));
  const answer = await answered;
  expect(answer).toMatchObject({ status: 418, reason: "short and stout", body: "tea" });
  expect(answer.headers).toMatchObject({ "x-answer": "1", "set-cookie": ["a=1", "b=2"], via: `1.1 ${host}` });
});

test("Authorization is read and stripped only when no other token is given", async () => {
  await using emulator = await start();
  const listener = await rawListener(emulator);
  const open = await rawListener(emulator, "open");
  const first = call(emulator, { headers: { Authorization: await sas(emulator, sendKey) } });
  const taken = await listener.next();
  expect(taken.request?.requestHeaders["Authorization"]).toBeUndefined();
  listener.answer(taken.request?.id ?? "");
  expect((await first).status).toBe(200);
  const second = call(emulator, { path: "/open", headers: { Authorization: "Bearer for-the-agent" } });
  const passed = await open.next();
  expect(passed.request?.requestHeaders["Authorization"]).toBe("Bearer for-the-agent");
  open.answer(passed.request?.id ?? "");
  expect((await second).status).toBe(200);
});

test.each([
  ["a body of 70 000 bytes", { body: new Uint8Array(70_000) }],
  ["a chunked body", { body: "small", headers: { "Transfer-Encoding": "chunked" } }],
  [
    "headers of 12 kB and a body of 55 000 bytes",
    { body: new Uint8Array(55_000), headers: { "X-Long": "v".repeat(12_000) } },
  ],
])("for %s the control channel gets only an address, which works once", async (_what, options) => {
  await using emulator = await start();
  const listener = await rawListener(emulator);
  const headers = {
    ServiceBusAuthorization: await sas(emulator, sendKey),
    ...("headers" in options ? options.headers : {}),
  };
  const answered = call(emulator, { method: "POST", ...options, headers });
  const { request } = await listener.next();
  expect(Object.keys(request ?? {})).toEqual(["address"]);
  const address = request?.address ?? "";
  const { socket, status, messages } = await handshake(address);
  expect(status).toBe(101);
  expect((await handshake(address)).status).toBe(403);
  await until(() => messages.length === 2);
  const full = JSON.parse(messages[0]!.toString("utf8")) as Frame;
  expect(messages[1]).toHaveLength(options.body.length);
  socket.send(JSON.stringify({ response: { requestId: full.request?.id, statusCode: 201, body: false } }));
  expect((await answered).status).toBe(201);
});

test("a listener that drops a rendezvous drops its sender", async () => {
  await using emulator = await start();
  const listener = await rawListener(emulator);
  const token = await sas(emulator, sendKey);
  const answered = call(emulator, {
    method: "POST",
    body: new Uint8Array(70_000),
    headers: { ServiceBusAuthorization: token },
  });
  const lost = expect(answered).rejects.toThrow(/socket hang up|ECONNRESET/);
  const { socket } = await handshake((await listener.next()).request?.address ?? "");
  socket.close(1000);
  await lost;
});

test("a request that is not answered in time gets 504, and the late answer is dropped", async () => {
  await using emulator = await start({ responseTimeoutMs: 500 });
  const listener = await rawListener(emulator);
  const headers = { ServiceBusAuthorization: await sas(emulator, sendKey) };
  const first = await call(emulator, { headers });
  expect(first.status).toBe(504);
  expect(first.headers.via).toBeUndefined();
  listener.answer((await listener.next()).request?.id ?? "");
  const second = call(emulator, { headers });
  listener.answer((await listener.next()).request?.id ?? "", { statusCode: 204 });
  expect((await second).status).toBe(204);
});

test.each([
  ["status 502", { statusCode: 502 }, undefined],
  ["status 504", { statusCode: 504 }, undefined],
  ["status 101", { statusCode: 101 }, undefined],
  ["a hop-by-hop header", { responseHeaders: { "Content-Length": "3" } }, undefined],
  ["a split header", { responseHeaders: { a: "b\r\nc: d" } }, undefined],
  ["a body of 65 537 bytes", { body: true }, Buffer.alloc(65_537)],
  ["headers of 33 kB", { responseHeaders: { a: "v".repeat(33_000) } }, undefined],
])("an answer with %s on the control channel is a violation and becomes 500", async (_what, wrong, body) => {
  await using emulator = await start();
  const listener = await rawListener(emulator);
  const answered = call(emulator, { headers: { ServiceBusAuthorization: await sas(emulator, sendKey) } });
  listener.answer((await listener.next()).request?.id ?? "", wrong);
  if (body !== undefined) listener.socket.send(body);
  expect((await answered).status).toBe(500);
  expect(emulator.violations).toHaveLength(1);
});

test("a token that runs out closes the control channel with 1008, unless it was renewed with a good one", async () => {
  await using emulator = await start();
  const soon = () => new Date(Date.now() - 3_600_000 + 3_000);
  const listenWith = async (token: string) => {
    const { socket } = await handshake(hc(emulator, PATH, "sb-hc-action=listen"), {
      ServiceBusAuthorization: token,
    });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    return { socket, closed };
  };
  const shortLived = await listenWith(await sas(emulator, listenKey, PATH, soon));
  const renewed = await listenWith(await sas(emulator, listenKey, PATH, soon));
  const refused = await listenWith(await sas(emulator, listenKey));
  renewed.socket.send(JSON.stringify({ renewToken: { token: await sas(emulator, listenKey) } }));
  refused.socket.send(JSON.stringify({ renewToken: { token: await sas(emulator, sendKey) } }));
  expect(await shortLived.closed).toBe(1008);
  expect(await refused.closed).toBe(1008);
  expect(renewed.socket.readyState).toBe(WebSocket.OPEN);
});

test("a WebSocket sender is joined with a listener that accepts, and told the status of one that rejects", async () => {
  await using emulator = await start();
  const listener = await rawListener(emulator);
  const headers = { ServiceBusAuthorization: await sas(emulator, sendKey), "X-Hello": "1" };
  const connecting = handshake(hc(emulator, `${PATH}/chat`, "room=1&sb-hc-action=connect"), headers);
  const { accept } = await listener.next();
  expect(accept?.connectHeaders).toMatchObject({ "X-Hello": "1" });
  expect(accept?.connectHeaders["ServiceBusAuthorization"]).toBeUndefined();
  expect(new URL(accept?.address ?? "").pathname).toBe(`/$hc/${PATH}/chat`);
  const { socket: theirs } = await handshake(accept?.address ?? "");
  const { socket: ours } = await connecting;
  const echoed = new Promise((resolve) =>
    ours.once("message", (data) => resolve((data as Buffer).toString("utf8"))),
  );
  theirs.once("message", (data) => theirs.send(data as Buffer, { binary: false }));
  ours.send("hello");
  expect(await echoed).toBe("hello");

  const rejected = handshake(hc(emulator, PATH, "sb-hc-action=connect"), headers);
  const again = await listener.next();
  const url = `${again.accept?.address ?? ""}&sb-hc-statusCode=409&sb-hc-statusDescription=no`;
  expect((await handshake(url)).status).toBe(410);
  expect((await rejected).status).toBe(409);
});

test("our listener declines a WebSocket sender, who then reads 501, and stays in service", async () => {
  await using emulator = await startEmulator();
  await using listener = listen(emulator.endpoint, () => Promise.resolve({ status: 200 }));
  await listener.ready;
  const headers = { ServiceBusAuthorization: await sas(emulator, sendKey) };
  expect((await handshake(hc(emulator, PATH, "sb-hc-action=connect"), headers)).status).toBe(501);
  expect((await call(emulator, { headers })).status).toBe(200);
  expect(emulator.violations).toEqual([]);
});
