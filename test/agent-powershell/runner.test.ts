import { describe, expect, test } from "vitest";
import { BackupError } from "../../lib/errors/index.ts";
import {
  commandLine,
  createScriptRunner,
  type ScriptCall,
  type ScriptRunner,
} from "../../lib/agent/powershell/runner.ts";
import {
  CANNOT_FAKE,
  FAKE_POWERSHELL,
  fakeShell,
  isRunning,
  type FakeShell,
  type Rule,
} from "./fake-shell.ts";

const CALL: ScriptCall = {
  script: "Get-Thing",
  purpose: "query",
  input: { a: 1 },
  timeoutMs: 20_000,
  repeatable: false,
};

interface Rig extends AsyncDisposable {
  readonly runner: ScriptRunner;
  readonly fake: FakeShell;
  readonly log: string[];
}

async function rig(
  rules: Readonly<Record<string, readonly Rule[]>>,
  maximumOutputBytes = 64_000_000,
): Promise<Rig> {
  const fake = await fakeShell(rules);
  const log: string[] = [];
  const runner = createScriptRunner({
    executable: FAKE_POWERSHELL,
    executionPolicy: "RemoteSigned",
    environment: fake.environment,
    scriptDirectory: "/scripts",
    maximumOutputBytes,
    log: ({ message, facts }) => log.push(`${message} ${JSON.stringify(facts)}`),
  });
  return {
    runner,
    fake,
    log,
    async [Symbol.asyncDispose]() {
      await runner.dispose();
      await fake[Symbol.asyncDispose]();
    },
  };
}

async function failureOf(promise: Promise<unknown>): Promise<BackupError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof BackupError)) throw new Error(`expected a BackupError, got ${String(error)}`);
  return error;
}

async function shellPids(fake: FakeShell): Promise<number[]> {
  return [...new Set((await fake.received()).map(({ pid }) => pid))];
}

describe.skipIf(CANNOT_FAKE)("the script runner, over a fake PowerShell", () => {
  test("one shell answers many calls of one purpose, another purpose has its own", async () => {
    await using it = await rig({ "Get-Thing": [{ value: { got: "$input.a" } }] });
    expect(await it.runner.run(CALL)).toEqual({ kind: "value", value: { got: 1 } });
    expect(await it.runner.run({ ...CALL, input: { a: 2 } })).toEqual({ kind: "value", value: { got: 2 } });
    expect(await shellPids(it.fake)).toHaveLength(1);
    await it.runner.run({ ...CALL, purpose: "storage" });
    expect(await shellPids(it.fake)).toHaveLength(2);
  });

  test("the shell starts without profile and prompts, and prepares itself first", async () => {
    await using it = await rig({ "Get-Thing": [{ value: {} }] });
    await it.runner.run(CALL);
    const [first] = await it.fake.received();
    expect(first?.script).toBe("Initialize-Shell");
    expect(first?.argv).toEqual(
      "-NoLogo -NoProfile -NonInteractive -ExecutionPolicy RemoteSigned -NoExit -Command -".split(" "),
    );
  });

  test("calls of one purpose run one after the other in the order they came", async () => {
    await using it = await rig({ "Get-Thing": [{ value: { got: "$input.a" } }] });
    const wanted = Array.from({ length: 20 }, (_, a) => a);
    const got = await Promise.all(wanted.map((a) => it.runner.run({ ...CALL, input: { a } })));
    expect(got).toEqual(wanted.map((a) => ({ kind: "value", value: { got: a } })));
    const order = (await it.fake.received())
      .filter(({ script }) => script === "Get-Thing")
      .map(({ input }) => input?.["a"]);
    expect(order).toEqual(wanted);
  });

  test("no value becomes script: quotes, dollars, line ends and every character arrive as they are", async () => {
    const hostile = `'; Remove-Item C:\\ -Recurse #"\n$(whoami)\r\n\`‘’“ 日本 \u0000 \u{1f600}`;
    await using it = await rig({ "Get-Thing": [{ value: { got: "$input.a" } }] });
    expect(await it.runner.run({ ...CALL, input: { a: hostile } })).toEqual({
      kind: "value",
      value: { got: hostile },
    });
    const received = await it.fake.received();
    expect(received.filter(({ unexpected }) => unexpected !== undefined)).toEqual([]);
    for (const { line } of received)
      expect(line).toMatch(/^& '[\x20-\x7e]+' -Payload '[A-Za-z0-9+/=]+' -Call '[0-9a-f]+'$/);
  });

  test("an error document of a script is an outcome, not a rejection", async () => {
    await using it = await rig({
      "Get-Thing": [{ do: "error", error: { code: "HV_CALL_FAILED", message: "no" } }],
    });
    expect(await it.runner.run(CALL)).toMatchObject({
      kind: "failed",
      error: { code: "HV_CALL_FAILED", wmiReturnValue: -1 },
    });
  });

  test("lines around the answer and stale answers are skipped, the error stream is kept for diagnosis", async () => {
    await using it = await rig({ "Get-Thing": [{ do: "noise", value: { got: true } }] });
    expect(await it.runner.run(CALL)).toEqual({ kind: "value", value: { got: true } });
    expect(it.log.join("\n")).toContain("WARNING: noise");
  });

  test("an answer of many megabytes arrives whole", async () => {
    await using it = await rig({ "Get-Thing": [{ do: "huge", bytes: 8_000_000, value: { end: "here" } }] });
    expect(await it.runner.run(CALL)).toEqual({ kind: "value", value: { end: "here" } });
  });

  test("output past the bound ends the process; the next call gets a new one", async () => {
    await using it = await rig(
      { "Get-Thing": [{ nth: 1, do: "huge", bytes: 3_000_000 }, { value: { got: 2 } }] },
      1_000_000,
    );
    const error = await failureOf(it.runner.run(CALL));
    expect(error.code).toBe("HYPERV_ANSWER_INVALID");
    expect(await it.runner.run(CALL)).toEqual({ kind: "value", value: { got: 2 } });
  });

  test("a script that hangs is ended with the processes it started, and the next call gets a new shell", async () => {
    await using it = await rig({ "Get-Thing": [{ nth: 1, do: "hang" }, { value: { got: 2 } }] });
    const error = await failureOf(it.runner.run({ ...CALL, timeoutMs: 400 }));
    expect(error.code).toBe("POWERSHELL_TIMED_OUT");
    expect(error.message).toContain("Get-Thing");
    const received = await it.fake.received();
    const pids = received.flatMap(({ pid, childPid }) => [pid, childPid ?? pid]);
    expect(received.some(({ childPid }) => childPid !== undefined)).toBe(true);
    await expect.poll(() => pids.filter(isRunning)).toEqual([]);
    expect(await it.runner.run(CALL)).toEqual({ kind: "value", value: { got: 2 } });
  });

  test("a cancelled call ends its process tree and is reported as cancelled", async () => {
    await using it = await rig({ "Get-Thing": [{ do: "hang" }] });
    const cancel = new AbortController();
    const running = failureOf(it.runner.run({ ...CALL, signal: cancel.signal }));
    await expect
      .poll(async () => (await it.fake.received()).some(({ childPid }) => childPid !== undefined))
      .toBe(true);
    cancel.abort();
    expect((await running).code).toBe("CANCELLED");
    const pids = (await it.fake.received()).map(({ pid, childPid }) => childPid ?? pid);
    await expect.poll(() => pids.filter(isRunning)).toEqual([]);
  });

  test("a shell that ends in a question is replaced and asked again, once", async () => {
    await using it = await rig({ "Get-Thing": [{ nth: 1, do: "crash" }, { value: { got: 2 } }] });
    expect(await it.runner.run({ ...CALL, repeatable: true })).toEqual({ kind: "value", value: { got: 2 } });
    expect(await shellPids(it.fake)).toHaveLength(2);
  });

  test("a question whose shell ends twice is reported", async () => {
    await using it = await rig({ "Get-Thing": [{ do: "crash" }] });
    expect((await failureOf(it.runner.run({ ...CALL, repeatable: true }))).code).toBe("POWERSHELL_CRASHED");
    expect(await shellPids(it.fake)).toHaveLength(2);
  });

  test.each([0, 3])(
    "a shell that ends with code %i in a script that changes something is reported, not repeated",
    async (exitCode) => {
      await using it = await rig({ "New-Thing": [{ do: "crash", exitCode }] });
      const error = await failureOf(it.runner.run({ ...CALL, script: "New-Thing" }));
      expect(error.code).toBe("POWERSHELL_CRASHED");
      expect(error.facts["stderr"]).toContain("told to end here");
      expect((await it.fake.received()).filter(({ script }) => script === "New-Thing")).toHaveLength(1);
    },
  );

  test.each(["garbage", "silent", "twice"] as const)("%s instead of one answer is refused", async (kind) => {
    await using it = await rig({ "Get-Thing": [{ nth: 1, do: kind }, { value: { got: 2 } }] });
    expect((await failureOf(it.runner.run(CALL))).code).toBe("HYPERV_ANSWER_INVALID");
    expect(await it.runner.run(CALL)).toEqual({ kind: "value", value: { got: 2 } });
  });

  test("after it was disposed of no process is left and no call is taken", async () => {
    const it = await rig({ "Get-Thing": [{ nth: 1, value: {} }, { do: "hang" }] });
    await it.runner.run(CALL);
    const running = failureOf(it.runner.run(CALL));
    await expect
      .poll(async () => (await it.fake.received()).some(({ childPid }) => childPid !== undefined))
      .toBe(true);
    const pids = (await it.fake.received()).map(({ pid, childPid }) => childPid ?? pid);
    await it.runner.dispose();
    expect((await running).code).toBe("POWERSHELL_CRASHED");
    await expect.poll(() => pids.filter(isRunning)).toEqual([]);
    expect((await failureOf(it.runner.run(CALL))).code).toBe("CANCELLED");
    await it.fake[Symbol.asyncDispose]();
  });

  test("a shell serves hundreds of calls in one process", async () => {
    await using it = await rig({ "Get-Thing": [{ value: { got: "$input.a" } }] });
    for (let a = 0; a < 300; a++) await it.runner.run({ ...CALL, input: { a } });
    expect(await shellPids(it.fake)).toHaveLength(1);
  });
});

test("an executable that is not there is reported as such", async () => {
  const runner = createScriptRunner({
    executable: "/nowhere/powershell.exe",
    executionPolicy: "RemoteSigned",
    scriptDirectory: "/scripts",
    maximumOutputBytes: 1_000_000,
    log: () => undefined,
  });
  const error = await failureOf(runner.run(CALL));
  expect(error.code).toBe("POWERSHELL_UNAVAILABLE");
  expect(error.retry).toBe("after-operator");
  await runner.dispose();
});

test("a folder with a quote is quoted, one outside ASCII is refused", () => {
  expect(commandLine("C:\\it's\\scripts", "Get-Thing", "ab", {})).toBe(
    "& 'C:\\it''s\\scripts\\Get-Thing.ps1' -Payload 'e30=' -Call 'ab'",
  );
  expect(() => commandLine("C:\\Ünicode", "Get-Thing", "ab", {})).toThrow(/outside ASCII/);
});

test("only a verb-noun name of letters is a script", () => {
  for (const name of ["get-thing", "Get-Thing;x", "..\\Get-Thing", "Get-Thing'", "GetThing"]) {
    expect(() => commandLine("/scripts", name, "ab", {})).toThrow(TypeError);
  }
});
