import { connect } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { resourceUri, sasTokenProvider, type RelayListener } from "../../lib/relay/index.ts";
import type { RelayEmulator } from "../../lib/relay/emulator/index.ts";
import { createMessageReader } from "../../lib/relay/message-reader.ts";
import { parseListenerMessage } from "../../lib/relay/emulator/listener-messages.ts";
import { echo, listen, listenKey, PATH, sender, startEmulator, until } from "./fixtures.ts";
import { startRawService, type RawService } from "./raw-service.ts";

// Bytes from outside are hostile: whatever comes, nothing crashes and the next good request is served.

const head = {
  address: `ws://127.0.0.1:1/$hc/${PATH}?sb-hc-action=request`,
  id: "1",
  requestTarget: `/${PATH}/x`,
  method: "GET",
  requestHeaders: { a: "b" },
  body: true,
};

/** Text that is nearly a message: a valid one with a few characters replaced, cut or doubled. */
const nearlyValid = (message: unknown) =>
  fc.tuple(fc.nat(400), fc.nat(20), fc.string({ maxLength: 5 })).map(([at, length, instead]) => {
    const text = JSON.stringify(message);
    return text.slice(0, at) + instead + text.slice(at + length);
  });

/** A valid message in which some fields hold anything at all. */
const withAnything = (key: string, message: object) =>
  fc
    .subarray(Object.keys(message))
    .chain((fields) => fc.tuple(...fields.map((field) => fc.tuple(fc.constant(field), fc.jsonValue()))))
    .map((changes) => JSON.stringify({ [key]: { ...message, ...Object.fromEntries(changes) } }));

const serviceText = fc.oneof(
  fc.string(),
  fc.json(),
  nearlyValid({ request: head }),
  withAnything("request", head),
  withAnything("accept", { address: head.address, id: "1", connectHeaders: {} }),
);
const frame = fc.oneof(
  serviceText.map((text) => ({ isBinary: false, data: new TextEncoder().encode(text) })),
  fc.uint8Array({ maxLength: 300 }).map((data) => ({ isBinary: true, data })),
  fc.uint8Array({ maxLength: 300 }).map((data) => ({ isBinary: false, data })),
);

test("any sequence of frames gives events and no exception, and a good request after it is read", () => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 12 }),
      fc.constantFrom("control", "rendezvous"),
      (frames, channel) => {
        const reader = createMessageReader(channel, { maxBodyBytes: 200 });
        for (const { data, isBinary } of frames) {
          for (const event of reader.push(data, isBinary)) {
            if (event.kind === "request") expect(event.request.body.byteLength).toBeLessThanOrEqual(200);
            if (event.kind === "violation")
              expect(event.error.code).toMatch(/^RELAY_(MESSAGE_INVALID|REQUEST_TOO_LARGE)$/);
          }
        }
        const id = "after-all-that";
        reader.push(Buffer.from(JSON.stringify({ request: { ...head, id } })), false);
        const events = reader.push(new Uint8Array([7]), true);
        expect(events).toEqual([
          { kind: "request", request: expect.objectContaining({ id, body: new Uint8Array([7]) }) as unknown },
        ]);
      },
    ),
    { numRuns: 1_000 },
  );
});

test("headers called __proto__ or constructor change no object", () => {
  const reader = createMessageReader("control", { maxBodyBytes: 1 });
  const text = `{"request":${JSON.stringify({ ...head, body: false }).replace('{"a":"b"}', '{"__proto__":"x","constructor":"y"}')}}`;
  const [event] = reader.push(Buffer.from(text), false);
  expect(event?.kind === "request" && Object.entries(event.request.headers)).toEqual([["constructor", "y"]]);
});

test("any text of a listener is read by the emulator without an exception", () => {
  const response = { requestId: "1", statusCode: 200, responseHeaders: { a: "b" }, body: true };
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    nearlyValid({ response }),
    withAnything("response", response),
  );
  fc.assert(
    fc.property(text, (given) => {
      expect(parseListenerMessage(given, "control").kind).toMatch(/^(response|renewToken|invalid)$/);
    }),
    { numRuns: 1_000 },
  );
});

let emulator: RelayEmulator;
let listener: RelayListener;
let service: RawService;

beforeAll(async () => {
  emulator = await startEmulator({ responseTimeoutMs: 5_000 });
  listener = listen(emulator.endpoint, echo);
  await listener.ready;
  service = await startRawService();
});

afterAll(async () => {
  await listener.close({ drainMs: 0 });
  await emulator.close();
  await service[Symbol.asyncDispose]();
});

test("whatever frames a live listener gets, it answers the next good request", async () => {
  await using listener = listen(service.endpoint, echo);
  let control = await service.accept();
  let count = 0;
  // Frames that make the listener dial are left out: the raw service would have to accept those sockets.
  const harmless = fc.oneof(
    fc.string().map((text) => Buffer.from(text)),
    nearlyValid({ request: head })
      .filter((text) => !text.includes('"address":"ws://127'))
      .map((text) => Buffer.from(text)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(harmless, fc.boolean()), { maxLength: 8 }), async (frames) => {
      for (const [data, binary] of frames) control.socket.send(data, { binary });
      const id = `good-${(count += 1)}`;
      const address = `ws://${service.host}/$hc/${PATH}?sb-hc-action=request`;
      control.socket.send(JSON.stringify({ request: { ...head, id, address, body: false } }));
      const isAnswer = (message: unknown) =>
        (message as { response?: { requestId?: string } }).response?.requestId === id;
      await until(() => control.received.some(isAnswer) || control.socket.readyState === WebSocket.CLOSED);
      if (control.socket.readyState === WebSocket.CLOSED) control = await service.accept();
      else expect(control.received.find(isAnswer)).toMatchObject({ response: { statusCode: 200 } });
    }),
    { numRuns: 150 },
  );
  await until(() => listener.state === "listening");
});

/** Writes bytes to the emulator as they are, and waits until it closes or answers. */
function writeRaw(bytes: Uint8Array | string): Promise<string> {
  const { hostname, port } = new URL(emulator.endpoint);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    let answer = "";
    socket.on("data", (part) => {
      answer += part.toString("latin1");
      if (answer.includes("\r\n\r\n")) socket.destroy();
    });
    socket.on("error", () => undefined).on("close", () => resolve(answer));
    socket.end(bytes);
  });
}

test("whatever HTTP the emulator gets, it answers or hangs up and serves the next good request", async () => {
  const token = await sasTokenProvider(listenKey)(resourceUri({ endpoint: emulator.endpoint, path: PATH }));
  const target = fc.constantFrom(
    "/",
    "*",
    "//",
    "/%",
    `/${PATH}`,
    `/$hc/${PATH}?sb-hc-action=listen`,
    `/$hc/${PATH}`,
    "http://x/",
  );
  const headerLine = fc.oneof(
    fc.constantFrom(
      "Upgrade: websocket",
      "Connection: Upgrade",
      "Sec-WebSocket-Key: x",
      "Sec-WebSocket-Version: 13",
      "Transfer-Encoding: chunked",
      "Content-Length: 5",
      "Content-Length: -1",
      `ServiceBusAuthorization: ${token.token}`,
      "ServiceBusAuthorization: SharedAccessSignature sr=%&sig=%&se=%&skn=%",
    ),
    fc.string({ maxLength: 20 }),
  );
  const message = fc
    .tuple(
      fc.constantFrom("GET", "POST", "CONNECT", "get", "\0"),
      target,
      fc.array(headerLine, { maxLength: 6 }),
      fc.string(),
    )
    .map(
      ([method, path, lines, body]) =>
        `${method} ${path} HTTP/1.1\r\nHost: x\r\n${lines.join("\r\n")}\r\n\r\n${body}`,
    );
  const { send } = sender(emulator.endpoint);
  await fc.assert(
    fc.asyncProperty(fc.oneof(message, fc.uint8Array()), async (bytes) => {
      const answer = await writeRaw(bytes);
      expect(answer).toMatch(/^($|HTTP\/1\.1 \d{3} )/);
      expect((await send({ method: "GET", path: "/" })).status).toBe(200);
    }),
    { numRuns: 150 },
  );
});

test("any request arrives as it was sent: method, target, headers and body", async () => {
  const { send } = sender(emulator.endpoint);
  const segment = fc
    .stringMatching(/^[A-Za-z0-9_~!$'()*+,;=:@%-]{1,12}$/)
    .map((text) => encodeURIComponent(text));
  const request = fc.record({
    method: fc.constantFrom("POST", "PUT", "PATCH", "DELETE"),
    path: fc
      .tuple(fc.array(segment, { maxLength: 4 }), fc.array(fc.tuple(segment, segment), { maxLength: 3 }))
      .map(
        ([path, query]) =>
          `/${path.join("/")}${query.length === 0 ? "" : `?${query.map(([name, value]) => `q${name}=${value}`).join("&")}`}`,
      ),
    value: fc.stringMatching(/^[!-~]([ -~]{0,40}[!-~])?$/),
    body: fc.uint8Array({ maxLength: 2_000 }),
  });
  await fc.assert(
    fc.asyncProperty(request, async ({ method, path, value, body }) => {
      const answer = await send({ method, path, headers: { "X-Value": value }, body });
      expect(answer.headers["x-method"]).toBe(method);
      const { pathname, search } = new URL(path, "http://x"); // writes "'" as %27 in a query
      expect(answer.headers["x-target"]).toBe(`${pathname}${search}`);
      expect((JSON.parse(answer.headers["x-headers"] ?? "") as Record<string, string>)["x-value"]).toBe(
        value,
      );
      expect(Buffer.compare(answer.body, body)).toBe(0);
    }),
    { numRuns: 150 },
  );
  expect(emulator.violations).toEqual([]);
});
