import { expect, test } from "vitest";
import { Busy } from "../../lib/local-host/busy.ts";
import { Lanes } from "../../lib/local-host/durable/lanes.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function lanes(width: number, run: (key: string) => Promise<void>) {
  const busy = new Busy(() => undefined);
  const errors: string[] = [];
  return {
    busy,
    errors,
    lanes: new Lanes({ run, onError: (key, error) => errors.push(`${key} ${String(error)}`), width, busy }),
  };
}

test("never two runs of one key, never more than the width, and a wake during a run means one more run", async () => {
  const running = new Set<string>();
  const seen: string[] = [];
  let most = 0;
  const { lanes: given, busy } = lanes(2, async (key) => {
    expect(running.has(key)).toBe(false);
    running.add(key);
    seen.push(key);
    most = Math.max(most, running.size);
    if (key === "a" && seen.filter((each) => each === "a").length === 1) {
      given.wake("a");
      given.wake("a");
    }
    await turn();
    running.delete(key);
  });
  for (const key of ["a", "b", "c", "b"]) given.wake(key);
  await busy.whenIdle();
  expect(seen.toSorted()).toEqual(["a", "a", "b", "c"]);
  expect(most).toBe(2);
});

test("work that failed is told and tried again by itself", async () => {
  let tries = 0;
  let succeeded: () => void = () => undefined;
  const success = new Promise<void>((resolve) => (succeeded = resolve));
  const { lanes: given, errors } = lanes(1, async () => {
    await turn();
    if (tries++ === 0) throw new Error("disk full");
    succeeded();
  });
  given.wake("x");
  await success;
  expect(errors).toEqual(["x Error: disk full"]);
});

test("after stop nothing more is started", async () => {
  const seen: string[] = [];
  const { lanes: given, busy } = lanes(1, async (key) => {
    seen.push(key);
    await turn();
  });
  given.wake("a");
  given.stop();
  given.wake("b");
  await busy.whenIdle();
  expect(seen).toEqual([]);
});
