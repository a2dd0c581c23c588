import { expect, test } from "vitest";
import { sasTokenProvider, type ListenerState, type RelayResponse } from "../../lib/relay/index.ts";
import {
  bytes,
  echo,
  listen,
  listenKey,
  PATH,
  recordingLog,
  sender,
  startEmulator,
  until,
} from "./fixtures.ts";

// Listener and sender together, with the emulator misbehaving on call.

test("a control channel that is lost mid-request costs nothing: the answer comes over the rendezvous", async () => {
  await using emulator = await startEmulator({ faults: [{ kind: "drop-control" }] });
  const gate = Promise.withResolvers<RelayResponse>();
  let calls = 0;
  await using listener = listen(emulator.endpoint, () => {
    calls += 1;
    return gate.promise;
  });
  await listener.ready;
  const sent = sender(emulator.endpoint).send({ method: "PUT", path: "/v1/operations/a" });
  await until(() => calls === 1 && emulator.waitingFaults === 0 && emulator.listenerCount(PATH) === 1);
  gate.resolve({ status: 201 });
  expect(await sent).toMatchObject({ status: 201 });
  expect(calls).toBe(1);
});

test.each([1001, 1008, 1011, undefined] as const)(
  "a listener dropped with %s is back in service by itself",
  async (closeCode) => {
    await using emulator = await startEmulator();
    const states: ListenerState[] = [];
    await using listener = listen(emulator.endpoint, echo, { onStateChange: (state) => states.push(state) });
    await listener.ready;
    emulator.dropListeners(PATH, closeCode);
    await until(() => states.includes("waiting"));
    await until(() => listener.state === "listening" && emulator.listenerCount(PATH) === 1);
    expect(await sender(emulator.endpoint).send({ method: "GET", path: "/" })).toMatchObject({ status: 200 });
  },
);

test("a request that the relay delivers twice is carried out and answered once", async () => {
  await using emulator = await startEmulator({ faults: [{ kind: "duplicate-request" }] });
  let calls = 0;
  const recording = recordingLog();
  await using listener = listen(
    emulator.endpoint,
    async (request) => {
      calls += 1;
      await until(() => recording.lines.some((line) => line.message.includes("twice")));
      return echo(request);
    },
    { log: recording.log },
  );
  await listener.ready;
  const body = bytes(100);
  const answer = await sender(emulator.endpoint).send({ method: "PUT", path: "/v1/operations/a", body });
  expect(Buffer.compare(answer.body, body)).toBe(0);
  expect(calls).toBe(1);
});

test("a request held back by the relay is answered when it arrives", async () => {
  await using emulator = await startEmulator({
    faults: [
      { kind: "delay-request", delayMs: 50 },
      { kind: "delay-response", delayMs: 50 },
    ],
  });
  await using listener = listen(emulator.endpoint, echo);
  await listener.ready;
  expect((await sender(emulator.endpoint).send({ method: "GET", path: "/" })).status).toBe(200);
  expect(emulator.waitingFaults).toBe(0);
});

test("a large request body that is cut never reaches the handler, and the sender hears of it", async () => {
  await using emulator = await startEmulator({ faults: [{ kind: "cut-request-body" }] });
  let calls = 0;
  await using listener = listen(emulator.endpoint, (request) => {
    calls += 1;
    return echo(request);
  });
  await listener.ready;
  const { send } = sender(emulator.endpoint);
  const body = bytes(200_000);
  await expect(send({ method: "POST", path: "/", body })).rejects.toMatchObject({
    code: "RELAY_UNREACHABLE",
  });
  expect(calls).toBe(0);
  expect((await send({ method: "POST", path: "/", body })).status).toBe(200);
  expect(calls).toBe(1);
});

test("a small request body that is cut takes the channel with it; the sender times out and the agent comes back", async () => {
  await using emulator = await startEmulator({
    faults: [{ kind: "cut-request-body" }],
    responseTimeoutMs: 500,
  });
  let calls = 0;
  await using listener = listen(emulator.endpoint, (request) => {
    calls += 1;
    return echo(request);
  });
  await listener.ready;
  const { send } = sender(emulator.endpoint);
  await expect(send({ method: "POST", path: "/", body: bytes(100) })).rejects.toMatchObject({
    code: "RELAY_TIMED_OUT",
  });
  expect(calls).toBe(0);
  await until(() => listener.state === "listening" && emulator.listenerCount(PATH) === 1);
  expect((await send({ method: "POST", path: "/", body: bytes(100) })).status).toBe(200);
});

test("an answer that is lost on its way is a time-out for the sender, who may ask again", async () => {
  await using emulator = await startEmulator({ faults: [{ kind: "drop-response" }], responseTimeoutMs: 500 });
  await using listener = listen(emulator.endpoint, echo);
  await listener.ready;
  const { send } = sender(emulator.endpoint);
  await expect(send({ method: "PUT", path: "/" })).rejects.toMatchObject({
    code: "RELAY_TIMED_OUT",
    retry: "later",
  });
  expect((await send({ method: "PUT", path: "/" })).status).toBe(200);
});

test("an answer that is cut half-way is an error and never a short body", async () => {
  await using emulator = await startEmulator({ faults: [{ kind: "cut-response-body" }] });
  await using listener = listen(emulator.endpoint, echo);
  await listener.ready;
  const { send } = sender(emulator.endpoint);
  const body = bytes(200_000);
  await expect(send({ method: "POST", path: "/", body })).rejects.toMatchObject({
    code: "RELAY_UNREACHABLE",
  });
  expect((await send({ method: "POST", path: "/", body })).body).toHaveLength(body.length);
});

test("a refused rendezvous loses that one answer; the listener goes on", async () => {
  await using emulator = await startEmulator({
    faults: [{ kind: "refuse-rendezvous", status: 403 }],
    responseTimeoutMs: 500,
  });
  const recording = recordingLog();
  const large = bytes(100_000);
  await using listener = listen(emulator.endpoint, () => Promise.resolve({ status: 200, body: large }), {
    log: recording.log,
  });
  await listener.ready;
  const { send } = sender(emulator.endpoint);
  await expect(send({ method: "GET", path: "/" })).rejects.toMatchObject({ code: "RELAY_TIMED_OUT" });
  expect(recording.codes()).toEqual(["RELAY_RESPONSE_UNDELIVERED"]);
  expect((await send({ method: "GET", path: "/" })).body).toHaveLength(large.length);
});

test("a garbage frame before a request does not disturb the request", async () => {
  await using emulator = await startEmulator({ faults: [{ kind: "inject-frame", data: '{"request":' }] });
  const recording = recordingLog();
  await using listener = listen(emulator.endpoint, echo, { log: recording.log });
  await listener.ready;
  expect((await sender(emulator.endpoint).send({ method: "GET", path: "/" })).status).toBe(200);
  expect(recording.codes()).toEqual(["RELAY_MESSAGE_INVALID"]);
});

test("a line on which pings stay unanswered is replaced by one that works", async () => {
  await using emulator = await startEmulator({ faults: [{ kind: "ignore-pings" }] });
  const recording = recordingLog();
  await using listener = listen(emulator.endpoint, echo, {
    log: recording.log,
    pingIntervalMs: 30,
    pongTimeoutMs: 1_000,
  });
  await listener.ready;
  await until(() => recording.lines.some((line) => line.message.includes("does not answer pings")));
  await until(() => listener.state === "listening");
  expect((await sender(emulator.endpoint).send({ method: "GET", path: "/" })).status).toBe(200);
});

test("a listener outlives its first token on the same channel", async () => {
  await using emulator = await startEmulator();
  const states: ListenerState[] = [];
  const expiries: number[] = [];
  const provider = sasTokenProvider({ ...listenKey, ttlMs: 3_000 });
  await using listener = listen(emulator.endpoint, echo, {
    token: async (uri) => {
      const given = await provider(uri);
      expiries.push(given.expiresAt.getTime());
      return given;
    },
    onStateChange: (state) => states.push(state),
  });
  await listener.ready;
  await until(() => Date.now() > expiries[0]! + 200);
  expect(states).toEqual(["listening"]);
  expect(expiries.length).toBeGreaterThan(1);
  expect((await sender(emulator.endpoint).send({ method: "GET", path: "/" })).status).toBe(200);
});

test.each([
  [401, "RELAY_TOKEN_REFUSED"],
  [403, "RELAY_FORBIDDEN"],
  [404, "RELAY_NOT_FOUND"],
])("a listener refused with %i says %s and gets in once the cause is gone", async (status, code) => {
  await using emulator = await startEmulator({ faults: [{ kind: "refuse-listen", status }] });
  await using listener = listen(emulator.endpoint, echo);
  await expect(listener.ready).rejects.toMatchObject({ code });
  await until(() => listener.state === "listening");
  expect((await sender(emulator.endpoint).send({ method: "GET", path: "/" })).status).toBe(200);
});
