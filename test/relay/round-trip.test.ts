import { expect, test } from "vitest";
import { bytes, echo, listen, sender, startEmulator, until } from "./fixtures.ts";

const SIZES = [0, 1, 1000, 65_000, 65_536, 65_537, 200_000, 3_000_000];

test.each(SIZES)("a body of %i bytes arrives unchanged and comes back unchanged", async (size) => {
  await using emulator = await startEmulator();
  await using listener = listen(emulator.endpoint, echo);
  await listener.ready;
  const body = bytes(size);
  const answer = await sender(emulator.endpoint).send({ method: "POST", path: "/v1/echo", body });
  expect(answer.status).toBe(200);
  expect(Buffer.compare(answer.body, body)).toBe(0);
  expect(emulator.violations).toEqual([]);
});

test.each(SIZES)("a small request can have an answer of %i bytes", async (size) => {
  await using emulator = await startEmulator();
  const body = bytes(size);
  await using listener = listen(emulator.endpoint, () => Promise.resolve({ status: 200, body }));
  await listener.ready;
  const answer = await sender(emulator.endpoint).send({ method: "GET", path: "/" });
  expect(Buffer.compare(answer.body, body)).toBe(0);
  expect(emulator.violations).toEqual([]);
});

test("the handler sees method, target behind the path, query and headers, without what concerns the relay", async () => {
  await using emulator = await startEmulator();
  await using listener = listen(emulator.endpoint, echo);
  await listener.ready;
  const answer = await sender(emulator.endpoint).send({
    method: "PUT",
    path: "/v1/operations/a%20b?x=1&sb-hc-id=mine&y=%2F",
    headers: { Authorization: "Bearer end-to-end", "X-Run": "r1" },
    body: bytes(3),
  });
  expect(answer.headers["x-method"]).toBe("PUT");
  expect(answer.headers["x-target"]).toBe("/v1/operations/a%20b?x=1&y=%2F");
  const seen = JSON.parse(answer.headers["x-headers"] ?? "") as Record<string, string>;
  expect(seen).toMatchObject({ authorization: "Bearer end-to-end", "x-run": "r1" });
  expect(Object.keys(seen)).not.toEqual(
    expect.arrayContaining([
      expect.stringMatching(/^(host|connection|content-length|servicebusauthorization)$/),
    ]),
  );
});

test("requests sent together are answered together, each with its own answer", async () => {
  await using emulator = await startEmulator();
  let inHand = 0;
  let open: () => void = () => undefined;
  const allArrived = new Promise<void>((resolve) => (open = resolve));
  await using listener = listen(emulator.endpoint, async (request) => {
    inHand += 1;
    if (inHand === 40) open();
    await allArrived; // passes only if all forty are in hand at the same time
    return { status: 200, body: request.body };
  });
  await listener.ready;
  const { send } = sender(emulator.endpoint);
  const bodies = Array.from({ length: 40 }, (_, index) =>
    bytes(index % 4 === 0 ? 100_000 + index : 10 + index),
  );
  const answers = await Promise.all(bodies.map((body) => send({ method: "POST", path: "/", body })));
  answers.forEach((answer, index) => expect(Buffer.compare(answer.body, bodies[index]!)).toBe(0));
  expect(emulator.violations).toEqual([]);
});

test("later requests of a connection that has a rendezvous come over it and are answered there", async () => {
  await using emulator = await startEmulator();
  await using listener = listen(emulator.endpoint, echo);
  await listener.ready;
  const { send } = sender(emulator.endpoint);
  for (const size of [200_000, 10, 0, 100_000, 5]) {
    const body = bytes(size);
    const answer = await send({ method: "POST", path: "/again", body });
    expect(Buffer.compare(answer.body, body)).toBe(0);
  }
  expect(emulator.violations).toEqual([]);
});

test("with several listeners on one path every one of them gets requests", async () => {
  await using emulator = await startEmulator();
  const seen = new Set<number>();
  const listeners = Array.from({ length: 25 }, (_, index) =>
    listen(emulator.endpoint, () => {
      seen.add(index);
      return Promise.resolve({ status: 204 });
    }),
  );
  await Promise.all(listeners.map((listener) => listener.ready));
  expect(emulator.listenerCount("agents/host-01")).toBe(25);
  const { send } = sender(emulator.endpoint);
  // 25 listeners, 600 picks: all are picked but for one run in a billion
  for (let round = 0; round < 15; round += 1) {
    await Promise.all(Array.from({ length: 40 }, () => send({ method: "GET", path: "/" })));
  }
  expect(seen.size).toBe(25);
  await Promise.all(listeners.map((listener) => listener.close()));
  await until(() => emulator.listenerCount("agents/host-01") === 0);
});
