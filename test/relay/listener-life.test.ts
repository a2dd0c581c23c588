import { expect, test } from "vitest";
import { BackupError } from "../../lib/errors/index.ts";
import { sasTokenProvider, type ListenerState, type RelayResponse } from "../../lib/relay/index.ts";
import { listen, listenKey, PATH, recordingLog, until } from "./fixtures.ts";
import { startRawService, type RawService } from "./raw-service.ts";

// How a listener lives through closes, refusals, silence and shutdown; the service's side is written by hand.

const ok = () => Promise.resolve({ status: 200 });

function frame(service: RawService, id: string, method = "GET"): string {
  const address = `ws://${service.host}/$hc/${PATH}?sb-hc-action=request&sb-hc-id=${id}`;
  return JSON.stringify({
    request: { address, id, requestTarget: `/${PATH}`, method, requestHeaders: {}, body: false },
  });
}

test.each([
  [1001, "RELAY_NOT_FOUND"],
  [1008, "RELAY_TOKEN_REFUSED"],
  [1011, "RELAY_SERVICE_FAILED"],
  [1000, "RELAY_SERVICE_FAILED"],
])("after close code %i the listener reports %s and comes back with a new token", async (closeCode, code) => {
  await using service = await startRawService();
  const recording = recordingLog();
  let tokens = 0;
  await using listener = listen(service.endpoint, ok, {
    log: recording.log,
    token: () => {
      tokens += 1;
      return Promise.resolve({ token: `token-${tokens}`, expiresAt: new Date(Date.now() + 3_600_000) });
    },
  });
  const first = await service.accept();
  first.socket.close(closeCode, "TrackingId:7b");
  const second = await service.accept();
  expect(first.headers["servicebusauthorization"]).toBe("token-1");
  expect(second.headers["servicebusauthorization"]).toBe("token-2");
  expect(recording.codes()).toEqual([code]);
  expect(recording.lines.find((line) => line.level === "warn")?.message).toContain("TrackingId:7b");
  await until(() => listener.state === "listening");
  expect(listener.lastError).toBeUndefined();
});

test.each([
  [401, "RELAY_TOKEN_REFUSED"],
  [403, "RELAY_FORBIDDEN"],
  [404, "RELAY_NOT_FOUND"],
])(
  "a handshake refused with %i rejects ready with %s, and the listener still gets through later",
  async (status, code) => {
    await using service = await startRawService();
    const refused = service.refuse(status);
    await using listener = listen(service.endpoint, ok);
    await refused;
    await expect(listener.ready).rejects.toMatchObject({
      code,
      retry: "after-operator",
      message: expect.stringContaining("TrackingId:t-1") as unknown,
    });
    await service.accept();
    await until(() => listener.state === "listening");
  },
);

test("a service that fails for a while leaves ready pending, and is asked again until it accepts", async () => {
  await using service = await startRawService();
  const states: ListenerState[] = [];
  const refusals = [service.refuse(500), service.refuse(500)];
  await using listener = listen(service.endpoint, ok, { onStateChange: (state) => states.push(state) });
  await Promise.all(refusals);
  await service.accept();
  await listener.ready;
  expect(states).toEqual(["waiting", "connecting", "waiting", "connecting", "listening"]);
});

test("a service that cannot be reached is tried again, and the listener can be closed meanwhile", async () => {
  const service = await startRawService();
  await service[Symbol.asyncDispose]();
  const listener = listen(service.endpoint, ok);
  await until(() => listener.lastError !== undefined);
  expect(listener.lastError).toMatchObject({ code: "RELAY_UNREACHABLE", retry: "later" });
  await listener.close();
  await expect(listener.ready).rejects.toMatchObject({ code: "CANCELLED" });
  expect(listener.state).toBe("closed");
});

test("a token provider that fails is asked again, and its error is reported without ending the listener", async () => {
  await using service = await startRawService();
  let calls = 0;
  const recording = recordingLog();
  await using listener = listen(service.endpoint, ok, {
    log: recording.log,
    token: (uri) => {
      calls += 1;
      return calls === 1 ? Promise.reject(new Error("no identity")) : sasTokenProvider(listenKey)(uri);
    },
  });
  await listener.ready;
  expect(recording.codes()).toEqual(["RELAY_TOKEN_UNAVAILABLE"]);
});

test("a token provider that never answers does not keep the listener from closing", async () => {
  await using service = await startRawService();
  const listener = listen(service.endpoint, ok, { token: () => new Promise(() => undefined) });
  await listener.close();
  expect(listener.state).toBe("closed");
});

test("the token is renewed on the channel before it expires", async () => {
  await using service = await startRawService();
  let calls = 0;
  await using listener = listen(service.endpoint, ok, {
    token: () => {
      calls += 1;
      return Promise.resolve({ token: `token-${calls}`, expiresAt: new Date(Date.now() + 200) });
    },
  });
  const control = await service.accept();
  expect(await control.next()).toEqual({ renewToken: { token: "token-2" } });
  expect(await control.next()).toEqual({ renewToken: { token: "token-3" } });
  expect(listener.state).toBe("listening");
});

test("a silent line is noticed by a missing pong and replaced", async () => {
  await using service = await startRawService({ autoPong: false });
  await using listener = listen(service.endpoint, ok, { pingIntervalMs: 20, pongTimeoutMs: 20 });
  const first = await service.accept();
  await first.closed;
  expect(first.pings).toBe(1);
  await service.accept();
  expect(listener.state).not.toBe("closed");
});

test("a line whose peer answers pings is kept", async () => {
  await using service = await startRawService();
  await using listener = listen(service.endpoint, ok, { pingIntervalMs: 5, pongTimeoutMs: 5_000 });
  const control = await service.accept();
  await until(() => control.pings >= 10);
  expect(service.opened).toBe(0);
  expect(listener.state).toBe("listening");
});

test.each([
  ["a frame with a reserved opcode", Buffer.from([0x83, 0x00])],
  ["a masked frame", Buffer.from([0x81, 0x82, 1, 2, 3, 4, 5, 6])],
  ["reserved bits", Buffer.from([0xf1, 0x00])],
  ["a continuation of nothing", Buffer.from([0x80, 0x00])],
  ["text that is not UTF-8", Buffer.from([0x81, 0x02, 0xc3, 0x28])],
  ["a fragmented ping", Buffer.from([0x09, 0x00])],
  ["a length of 2^63", Buffer.from([0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0])],
  ["a message of 4 GiB", Buffer.from([0x82, 0x7f, 0, 0, 0, 1, 0, 0, 0, 0])],
  ["a close code that is not valid", Buffer.from([0x88, 0x02, 0x00, 0x01])],
  ["plain HTTP", Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")],
])("%s ends that channel only: a new one is opened and works", async (_what, garbage) => {
  await using service = await startRawService();
  await using listener = listen(service.endpoint, ok);
  const first = await service.accept();
  first.raw.write(garbage);
  const second = await service.accept();
  second.socket.send(frame(service, "after"));
  expect(await second.next()).toMatchObject({ response: { requestId: "after", statusCode: 200 } });
  expect(listener.state).toBe("listening");
});

test("an answer whose control channel was lost goes over the request's rendezvous", async () => {
  await using service = await startRawService();
  const gate = Promise.withResolvers<RelayResponse>();
  await using listener = listen(service.endpoint, () => gate.promise);
  const control = await service.accept();
  control.socket.send(frame(service, "lost"));
  await until(() => listener.state === "listening");
  control.socket.terminate();
  await service.accept(); // the next control channel
  gate.resolve({ status: 201 });
  const rendezvous = await service.accept();
  expect(rendezvous.url.searchParams.get("sb-hc-id")).toBe("lost");
  expect(await rendezvous.next()).toMatchObject({ response: { requestId: "lost", statusCode: 201 } });
});

test("an answer that can be delivered nowhere is reported as RELAY_RESPONSE_UNDELIVERED", async () => {
  await using service = await startRawService();
  const recording = recordingLog();
  await using listener = listen(
    service.endpoint,
    () => Promise.resolve({ status: 200, body: new Uint8Array(100_000) }),
    { log: recording.log },
  );
  const control = await service.accept();
  const refused = service.refuse(403);
  control.socket.send(frame(service, "nowhere"));
  await refused;
  await until(() => recording.codes().length > 0);
  expect(recording.codes()).toEqual(["RELAY_RESPONSE_UNDELIVERED"]);
  expect(listener.state).toBe("listening");
});

test("closing waits for the answers under way, refuses new requests and opens no new channel", async () => {
  await using service = await startRawService();
  const gate = Promise.withResolvers<RelayResponse>();
  const listener = listen(service.endpoint, () => gate.promise);
  const control = await service.accept();
  control.socket.send(frame(service, "under-way"));
  control.socket.ping();
  await new Promise((resolve) => control.socket.once("pong", resolve)); // the frame before it was read
  const closed = listener.close();
  expect(listener.state).toBe("draining");
  control.socket.send(frame(service, "too-late"));
  expect(await control.next()).toMatchObject({ response: { requestId: "too-late", statusCode: 503 } });
  await control.next();
  gate.resolve({ status: 200 });
  expect(await control.next()).toMatchObject({ response: { requestId: "under-way", statusCode: 200 } });
  await closed;
  expect(await control.closed).toBe(1000);
  expect(listener.state).toBe("closed");
  expect(service.opened).toBe(0);
});

test("a handler that does not end is aborted when the time to drain is over, and its sender is told", async () => {
  await using service = await startRawService();
  const abort = new AbortController();
  const told = Promise.withResolvers<unknown>();
  const listener = listen(
    service.endpoint,
    ({ signal }) => {
      signal.addEventListener("abort", () => told.resolve(signal.reason));
      return new Promise(() => undefined);
    },
    { signal: abort.signal },
  );
  const control = await service.accept();
  control.socket.send(frame(service, "endless"));
  control.socket.ping();
  await new Promise((resolve) => control.socket.once("pong", resolve));
  await listener.close({ drainMs: 20 });
  expect(await told.promise).toBeInstanceOf(BackupError);
  expect(await control.next()).toMatchObject({ response: { requestId: "endless", statusCode: 503 } });
  await listener.close(); // a second time does nothing
});

test("a sender that waits on a rendezvous is told as well when the listener is closed", async () => {
  await using service = await startRawService();
  const listener = listen(service.endpoint, () => new Promise(() => undefined));
  const control = await service.accept();
  const address = `ws://${service.host}/$hc/${PATH}?sb-hc-action=request&sb-hc-id=large`;
  control.socket.send(JSON.stringify({ request: { address } }));
  const rendezvous = await service.accept();
  rendezvous.socket.send(frame(service, "large"));
  rendezvous.socket.ping();
  await new Promise((resolve) => rendezvous.socket.once("pong", resolve));
  await listener.close({ drainMs: 20 });
  expect(await rendezvous.next()).toMatchObject({ response: { requestId: "large", statusCode: 503 } });
  expect(await rendezvous.closed).toBe(1000);
});

test("aborting the signal closes the listener, also one that was aborted before the start", async () => {
  await using service = await startRawService();
  const abort = new AbortController();
  const listener = listen(service.endpoint, ok, { signal: abort.signal });
  const control = await service.accept();
  await listener.ready;
  abort.abort();
  expect(await control.closed).toBe(1000);
  await until(() => listener.state === "closed");
  const never = listen(service.endpoint, ok, { signal: AbortSignal.abort() });
  await until(() => never.state === "closed");
  expect(service.opened).toBe(0);
});
