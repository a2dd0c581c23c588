import { expect, test } from "vitest";
import { BackupError } from "../../lib/errors/index.ts";
import type { ListenerOptions, RelayRequest, RelayResponse } from "../../lib/relay/index.ts";
import { bytes, echo, listen, PATH, recordingLog, until } from "./fixtures.ts";
import { startRawService, type RawChannel, type RawService } from "./raw-service.ts";

// The frames below are those of "Azure Relay Hybrid Connections protocol"; the emulator takes no part.

type Handle = (request: RelayRequest) => Promise<RelayResponse>;

async function connected(handle: Handle, options: Partial<ListenerOptions> = {}) {
  const service = await startRawService();
  const listener = listen(service.endpoint, handle, options);
  const control = await service.accept();
  await listener.ready;
  return {
    service,
    listener,
    control,
    async [Symbol.asyncDispose]() {
      await listener.close({ drainMs: 0 });
      await service[Symbol.asyncDispose]();
    },
  };
}

let lastId = 0;
function request(service: RawService, more: Record<string, unknown> = {}) {
  const id = `42c34cb5-7a04-4d40-a19f-${String((lastId += 1))}`;
  return {
    address: `ws://${service.host}/$hc/${PATH}?sb-hc-action=request&sb-hc-id=${id}`,
    id,
    requestTarget: `/${PATH}/abc/def?myarg=value&otherarg=1`,
    method: "GET",
    requestHeaders: { Host: "contoso", "Content-Type": "text/plain", "User-Agent": "doc" } as unknown,
    body: false,
    ...more,
  };
}

const sendText = (channel: RawChannel, message: unknown) => channel.socket.send(JSON.stringify(message));

const text = (message: unknown) => (message as Buffer).toString("utf8");

async function expectWorking(service: RawService, control: RawChannel): Promise<void> {
  const good = request(service);
  sendText(control, { request: good });
  for (;;) {
    const message = (await control.next()) as { response?: { requestId: string; statusCode: number } };
    if (message.response?.requestId !== good.id) continue; // answers to what came before
    expect(message.response.statusCode).toBe(200);
    return;
  }
}

const ok: Handle = () => Promise.resolve({ status: 200 });

test("the control channel is opened under $hc with the token in a header and not in the address", async () => {
  await using it = await connected(ok);
  const { url, headers } = it.control;
  expect(url.pathname).toBe(`/$hc/${PATH}`);
  expect(url.searchParams.get("sb-hc-action")).toBe("listen");
  expect(url.searchParams.get("sb-hc-id")).toMatch(/^[0-9a-f-]{36}$/);
  expect(url.searchParams.has("sb-hc-token")).toBe(false);
  expect(headers["servicebusauthorization"]).toMatch(/^SharedAccessSignature sr=http%3A%2F%2F127\.0\.0\.1/);
});

test("a request without body is answered by one text frame with the fields of the protocol", async () => {
  await using it = await connected(() =>
    Promise.resolve({ status: 202, headers: { "X-Job": "7", "Content-Length": "0", Connection: "close" } }),
  );
  const sent = request(it.service);
  sendText(it.control, { request: sent });
  expect(await it.control.next()).toEqual({
    response: {
      requestId: sent.id,
      statusCode: 202,
      responseHeaders: { "x-job": "7", "x-gcb-relay-listener": "1" },
      body: false,
    },
  });
});

test("a body that comes in three fragments reaches the handler whole, and the answer follows its header", async () => {
  await using it = await connected(echo);
  const sent = request(it.service, {
    method: "POST",
    body: true,
    requestHeaders: { "X-Many": ["a", "b"], N: 1 },
  });
  sendText(it.control, { request: sent });
  it.control.socket.send("one ", { binary: true, fin: false });
  it.control.socket.send("two ", { binary: true, fin: false });
  it.control.socket.send("three", { binary: true, fin: true });
  const head = (await it.control.next()) as { response: Record<string, unknown> };
  expect(head.response).toMatchObject({ requestId: sent.id, statusCode: 200, body: true });
  expect(head.response["responseHeaders"]).toMatchObject({
    "x-target": "/abc/def?myarg=value&otherarg=1",
    "x-headers": JSON.stringify({ "x-many": "a, b", n: "1" }),
  });
  expect(text(await it.control.next())).toBe("one two three");
});

test("a request frame that holds only an address is fetched from there and answered there", async () => {
  await using it = await connected(echo);
  const full = request(it.service, { method: "PUT", body: true });
  sendText(it.control, { request: { address: full.address } });
  const rendezvous = await it.service.accept();
  expect(rendezvous.url.href).toBe(full.address.replace(it.service.host, "service.invalid"));
  const body = Buffer.from(bytes(200_000));
  sendText(rendezvous, { request: { ...full, address: undefined } });
  rendezvous.socket.send(body.subarray(0, 70_000), { binary: true, fin: false });
  rendezvous.socket.send(body.subarray(70_000), { binary: true, fin: true });
  expect(await rendezvous.next()).toMatchObject({
    response: { requestId: full.id, statusCode: 200, body: true },
  });
  expect(Buffer.compare((await rendezvous.next()) as Buffer, body)).toBe(0);
  // "subsequent requests from that respective client MUST be delivered over the rendezvous socket"
  const second = request(it.service, { address: undefined });
  sendText(rendezvous, { request: second });
  expect(await rendezvous.next()).toMatchObject({ response: { requestId: second.id } });
  expect(it.control.received).toEqual([]);
});

test.each([
  ["a body over 64 kB", {}, 65_537],
  ["headers over 32 kB", { "x-long": "v".repeat(33_000) }, 0],
  ["headers and body together over 64 kB", { "x-long": "v".repeat(20_000) }, 50_000],
])("an answer with %s goes over the request's rendezvous", async (_what, headers, size) => {
  const body = bytes(size);
  await using it = await connected(() => Promise.resolve({ status: 200, headers, body }));
  const sent = request(it.service);
  sendText(it.control, { request: sent });
  const rendezvous = await it.service.accept();
  expect(rendezvous.url.searchParams.get("sb-hc-action")).toBe("request");
  expect(await rendezvous.next()).toMatchObject({ response: { requestId: sent.id, body: size > 0 } });
  if (size > 0) expect(Buffer.compare((await rendezvous.next()) as Buffer, body)).toBe(0);
  expect(it.control.received).toEqual([]);
});

test("answers may overtake each other", async () => {
  const slow = Promise.withResolvers<RelayResponse>();
  await using it = await connected(({ method }) =>
    method === "POST" ? slow.promise : ok({} as RelayRequest),
  );
  const first = request(it.service, { method: "POST" });
  const second = request(it.service);
  sendText(it.control, { request: first });
  sendText(it.control, { request: second });
  expect(await it.control.next()).toMatchObject({ response: { requestId: second.id } });
  slow.resolve({ status: 201 });
  expect(await it.control.next()).toMatchObject({ response: { requestId: first.id, statusCode: 201 } });
});

test("a WebSocket sender is declined by a handshake with status and description, and the channel goes on", async () => {
  await using it = await connected(ok);
  const refused = it.service.refuse(410);
  const address = `ws://${it.service.host}/$hc/${PATH}?sb-hc-action=accept&sb-hc-id=x&sig=a%20b%2f+c~%21`;
  sendText(it.control, {
    accept: {
      address,
      id: "x",
      connectHeaders: { "Sec-WebSocket-Protocol": "p", "Sec-WebSocket-Extensions": "e" },
    },
  });
  const url = await refused;
  expect(url.search.startsWith(new URL(address).search)).toBe(true); // as it came
  expect(url.searchParams.get("sb-hc-action")).toBe("accept");
  expect(url.searchParams.get("sb-hc-statusCode")).toBe("501");
  expect(url.searchParams.get("sb-hc-statusDescription")).toMatch(/HTTPS/);
  await expectWorking(it.service, it.control);
});

const doubtful: [what: string, frame: string | Uint8Array][] = [
  ["text that is not JSON", "{"],
  ["an empty text", ""],
  ["a JSON string", '"request"'],
  ["null", "null"],
  ["an array", "[]"],
  ["a request that is null", '{"request":null}'],
  ["a request that is a number", '{"request":1}'],
  ["an empty request", '{"request":{}}'],
  ["an accept without address", '{"accept":{"id":"1"}}'],
  [
    "an accept to another host",
    '{"accept":{"id":"1","address":"ws://10.0.0.1:1/$hc/x?sb-hc-action=accept"}}',
  ],
  ["a rendezvous that is no URL", '{"request":{"address":"::"}}'],
  ["a rendezvous on another host", '{"request":{"address":"ws://10.0.0.1:1/$hc/x?sb-hc-action=request"}}'],
  ["a rendezvous of another scheme", '{"request":{"address":"file:///$hc/etc/passwd"}}'],
  ["a body without a request", new Uint8Array([1, 2, 3])],
  ["deeply nested JSON", `{"request":${"[".repeat(50_000)}${"]".repeat(50_000)}}`],
];

test.each(doubtful)(
  "%s is refused with RELAY_MESSAGE_INVALID and the channel goes on",
  async (_what, frame) => {
    const recording = recordingLog();
    await using it = await connected(ok, { log: recording.log });
    it.control.socket.send(frame);
    await expectWorking(it.service, it.control);
    await until(() => recording.codes().length > 0);
    expect(recording.codes()).toEqual(["RELAY_MESSAGE_INVALID"]);
    expect(it.service.opened).toBe(0);
  },
);

test.each([
  ["no method", { method: undefined }],
  ["the method CONNECT", { method: "connect" }],
  ["a method with a line end", { method: "GET\r\nX: 1" }],
  ["no target", { requestTarget: undefined }],
  ["headers that are a list", { requestHeaders: [["a", "b"]] }],
  ["a header that is an object", { requestHeaders: { a: { b: 1 } } }],
])("a request with %s is answered with 400 at once", async (_what, wrong) => {
  await using it = await connected(ok);
  const sent = request(it.service, wrong);
  sendText(it.control, { request: sent });
  expect(await it.control.next()).toMatchObject({
    response: { requestId: sent.id, statusCode: 400, body: true },
  });
  const problem = JSON.parse(text(await it.control.next())) as { code: string };
  expect(problem.code).toBe("RELAY_MESSAGE_INVALID");
});

test("a target outside the hybrid connection's path is answered with 404 and never reaches the handler", async () => {
  let calls = 0;
  await using it = await connected(() => {
    calls += 1;
    return Promise.resolve({ status: 200 });
  });
  for (const target of [
    "/",
    "/agents",
    `/${PATH}5/x`,
    `/${PATH}/../host-02/x`,
    `/${PATH}/%2e%2e/host-02`,
    "*",
  ]) {
    const sent = request(it.service, { requestTarget: target });
    sendText(it.control, { request: sent });
    expect(await it.control.next()).toMatchObject({ response: { requestId: sent.id, statusCode: 404 } });
    await it.control.next();
  }
  expect(calls).toBe(0);
});

test("a header whose body does not come is answered with 400 as soon as the next request comes", async () => {
  await using it = await connected(ok);
  const cut = request(it.service, { body: true });
  sendText(it.control, { request: cut });
  await expectWorking(it.service, it.control);
  const answers = it.control.received.filter((message) => !Buffer.isBuffer(message));
  expect(answers).toContainEqual(
    expect.objectContaining({
      response: expect.objectContaining({ requestId: cut.id, statusCode: 400 }) as unknown,
    }),
  );
});

test("a body over the limit is answered with 413, on the control channel and on a rendezvous", async () => {
  await using it = await connected(ok, { maxBodyBytes: 1000 });
  const small = request(it.service, { body: true });
  sendText(it.control, { request: small });
  it.control.socket.send(bytes(1001));
  expect(await it.control.next()).toMatchObject({ response: { requestId: small.id, statusCode: 413 } });
  const large = request(it.service, { body: true });
  sendText(it.control, { request: { address: large.address } });
  const rendezvous = await it.service.accept();
  sendText(rendezvous, { request: large });
  rendezvous.socket.send(bytes(500_000));
  expect(await rendezvous.next()).toMatchObject({ response: { requestId: large.id, statusCode: 413 } });
});

test("a request that comes twice while it is handled runs once and is answered once", async () => {
  const gate = Promise.withResolvers<RelayResponse>();
  let calls = 0;
  await using it = await connected(({ method }) => {
    if (method === "GET") return Promise.resolve({ status: 200 });
    calls += 1;
    return gate.promise;
  });
  const sent = request(it.service, { method: "PUT", body: true });
  for (let time = 0; time < 2; time += 1) {
    sendText(it.control, { request: sent });
    sendText(it.control, { request: sent });
    it.control.socket.send(bytes(4));
  }
  await expectWorking(it.service, it.control);
  gate.resolve({ status: 201 });
  expect(await it.control.next()).toMatchObject({ response: { requestId: sent.id, statusCode: 201 } });
  await expectWorking(it.service, it.control);
  expect(calls).toBe(1);
  expect(it.control.received).toHaveLength(3);
});

test.each([
  ["throws", () => Promise.reject(new Error("secret detail")), 500, "INTERNAL"],
  [
    "throws a BackupError",
    () => Promise.reject(new BackupError("INPUT_INVALID", "the field x is missing; add it")),
    500,
    "INPUT_INVALID",
  ],
  ["answers 502", () => Promise.resolve({ status: 502 }), 500, "RELAY_STATUS_RESERVED"],
  ["answers 504", () => Promise.resolve({ status: 504 }), 500, "RELAY_STATUS_RESERVED"],
  ["answers 99", () => Promise.resolve({ status: 99 }), 500, "RELAY_STATUS_RESERVED"],
  ["splits a header", () => Promise.resolve({ status: 200, headers: { a: "b\r\nc: d" } }), 500, "INTERNAL"],
  ["answers nothing", () => Promise.resolve(undefined as unknown as RelayResponse), 500, "INTERNAL"],
] as [string, Handle, number, string][])(
  "a handler that %s becomes an error answer",
  async (_what, handle, status, code) => {
    await using it = await connected(handle);
    sendText(it.control, { request: request(it.service) });
    expect(await it.control.next()).toMatchObject({ response: { statusCode: status } });
    const body = text(await it.control.next());
    expect(JSON.parse(body)).toMatchObject({ code });
    expect(body).not.toContain("secret");
  },
);

test("a handler past the deadline is told by its signal, and the sender gets 503", async () => {
  const told = Promise.withResolvers<unknown>();
  await using it = await connected(
    ({ signal }) => {
      signal.addEventListener("abort", () => told.resolve(signal.reason));
      return new Promise(() => undefined);
    },
    { responseDeadlineMs: 30 },
  );
  sendText(it.control, { request: request(it.service) });
  expect(await it.control.next()).toMatchObject({ response: { statusCode: 503 } });
  expect(JSON.parse(text(await it.control.next()))).toMatchObject({ code: "RELAY_HANDLER_TIMED_OUT" });
  expect(await told.promise).toMatchObject({ code: "RELAY_HANDLER_TIMED_OUT" });
});

test("more requests than the agent takes at once get 503, and the next one after that is served", async () => {
  const gate = Promise.withResolvers<RelayResponse>();
  await using it = await connected(
    ({ method }) => (method === "PUT" ? gate.promise : ok({} as RelayRequest)),
    {
      maxConcurrent: 2,
    },
  );
  const held = [request(it.service, { method: "PUT" }), request(it.service, { method: "PUT" })];
  for (const sent of held) sendText(it.control, { request: sent });
  const third = request(it.service);
  sendText(it.control, { request: third });
  expect(await it.control.next()).toMatchObject({
    response: { requestId: third.id, statusCode: 503, responseHeaders: { "retry-after": "1" } },
  });
  expect(JSON.parse(text(await it.control.next()))).toMatchObject({ code: "RELAY_BUSY" });
  gate.resolve({ status: 200 });
  await it.control.next();
  await it.control.next();
  await expectWorking(it.service, it.control);
});

test("a handler on a rendezvous is told when its sender is gone", async () => {
  const told = Promise.withResolvers<unknown>();
  await using it = await connected(({ signal }) => {
    signal.addEventListener("abort", () => told.resolve(signal.reason));
    return new Promise(() => undefined);
  });
  const full = request(it.service);
  sendText(it.control, { request: { address: full.address } });
  const rendezvous = await it.service.accept();
  sendText(rendezvous, { request: full });
  rendezvous.socket.close(1001);
  expect(await told.promise).toMatchObject({ code: "CANCELLED" });
});
