import { randomBytes } from "node:crypto";
import { BackupError, type BackupErrorCode } from "../../errors/index.ts";
import { readAnswer, type ScriptError } from "./answer.ts";
import { Shell, ShellFailure, type ShellFailureKind, type ShellOptions } from "./shell.ts";

/** One long-lived shell each, so that a merge that takes an hour keeps no question waiting. */
export type Purpose = "query" | "checkpoint" | "storage" | "changes" | "restore";

export interface ScriptCall {
  /** File name without `.ps1`. */
  readonly script: string;
  readonly purpose: Purpose;
  readonly input: unknown;
  readonly timeoutMs: number;
  /** True when the script changes nothing: it is run again, once, when its shell breaks down. */
  readonly repeatable: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** What a script answered: its value, or the error document it made. */
export type ScriptOutcome =
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "failed"; readonly error: ScriptError };

export interface ScriptRunner {
  run(call: ScriptCall): Promise<ScriptOutcome>;
  dispose(): Promise<void>;
}

export type PowerShellLog = (entry: {
  readonly level: "debug" | "warn";
  readonly message: string;
  readonly facts: Readonly<Record<string, string | number>>;
}) => void;

export interface RunnerOptions extends ShellOptions {
  /** Folder of the scripts, ASCII: the code page of a shell's input is not known. */
  readonly scriptDirectory: string;
  readonly maximumOutputBytes: number;
  readonly log: PowerShellLog;
}

const START_TIMEOUT_MS = 60_000;

const CODE_OF: Readonly<Record<ShellFailureKind, BackupErrorCode>> = {
  unavailable: "POWERSHELL_UNAVAILABLE",
  crashed: "POWERSHELL_CRASHED",
  "timed-out": "POWERSHELL_TIMED_OUT",
  cancelled: "CANCELLED",
  "too-large": "HYPERV_ANSWER_INVALID",
};

/**
 * Runs scripts in long-lived shells. The only text that reaches a shell is the path of one of our scripts, a base64 word and
 * a hexadecimal word; whatever came over the wire is inside the base64.
 */
export function createScriptRunner(options: RunnerOptions): ScriptRunner {
  const shells = new Map<Purpose, Shell>();
  const queues = new Map<Purpose, Promise<unknown>>();
  let isDisposed = false;

  async function shellOf(purpose: Purpose): Promise<Shell> {
    const known = shells.get(purpose);
    if (known?.isAlive === true) return known;
    const shell = new Shell(options);
    shells.set(purpose, shell);
    const started = await callIn(shell, {
      script: "Initialize-Shell",
      input: {},
      timeoutMs: START_TIMEOUT_MS,
    });
    options.log({
      level: "debug",
      message: "PowerShell started",
      facts: { purpose, answer: JSON.stringify(started).slice(0, 500) },
    });
    return shell;
  }

  async function callIn(
    shell: Shell,
    call: Pick<ScriptCall, "script" | "input" | "timeoutMs" | "signal">,
  ): Promise<ScriptOutcome> {
    const id = randomBytes(12).toString("hex");
    const line = commandLine(options.scriptDirectory, call.script, id, call.input);
    const startedAt = performance.now();
    const { stdout, stderr } = await shell.run(line, {
      timeoutMs: call.timeoutMs,
      maximumOutputBytes: options.maximumOutputBytes,
      signal: call.signal,
    });
    const answer = readAnswer(stdout, id);
    const facts = { script: call.script, elapsedMs: Math.round(performance.now() - startedAt) };
    if (stderr !== "") {
      options.log({
        level: "warn",
        message: "a script wrote to its error stream",
        facts: { ...facts, stderr: tail(stderr) },
      });
    }
    if (typeof answer === "string") {
      throw new BackupError(
        "HYPERV_ANSWER_INVALID",
        `${call.script}: ${answer}. Look at the error stream in the facts and at the agent's log.`,
        { retry: "later", facts: { ...facts, stderr: tail(stderr), stdout: tail(stdout) } },
      );
    }
    options.log({ level: "debug", message: "script ended", facts: { ...facts, ok: String(answer.ok) } });
    return answer.ok ? { kind: "value", value: answer.value } : { kind: "failed", error: answer.error };
  }

  async function attempt(call: ScriptCall): Promise<ScriptOutcome> {
    if (isDisposed) throw disposedError(call.script);
    try {
      return await callIn(await shellOf(call.purpose), call);
    } catch (cause) {
      if (cause instanceof ShellFailure) throw toBackupError(cause, call);
      // Whatever wrote this instead of an answer may still be at it: the next call gets a new shell.
      await shells.get(call.purpose)?.end();
      throw cause;
    }
  }

  async function attemptTwice(call: ScriptCall): Promise<ScriptOutcome> {
    try {
      return await attempt(call);
    } catch (error) {
      const mayRepeat =
        call.repeatable && error instanceof BackupError && error.code === "POWERSHELL_CRASHED";
      if (!mayRepeat) throw error;
      options.log({
        level: "warn",
        message: "PowerShell ended; asking again",
        facts: { script: call.script },
      });
      return attempt(call);
    }
  }

  return {
    run(call) {
      const before = queues.get(call.purpose) ?? Promise.resolve();
      const result = before.then(() => attemptTwice(call));
      queues.set(
        call.purpose,
        result.catch(() => undefined),
      );
      return result;
    },
    async dispose() {
      isDisposed = true;
      await Promise.all([...shells.values()].map((shell) => shell.end()));
      await Promise.all(queues.values());
    },
  };
}

/** The line for a shell. Everything variable is a literal of a closed alphabet, but for the folder, which is quoted. */
export function commandLine(scriptDirectory: string, script: string, call: string, input: unknown): string {
  if (!/^[A-Z][A-Za-z]+-[A-Z][A-Za-z]+$/.test(script)) throw new TypeError(`${script} is no script name`);
  if (!/^[\x20-\x7e]+$/.test(scriptDirectory)) {
    throw new BackupError(
      "POWERSHELL_UNAVAILABLE",
      `The scripts lie in ${scriptDirectory}, a path with characters outside ASCII. Install the agent elsewhere.`,
      { retry: "after-operator" },
    );
  }
  const separator = scriptDirectory.includes("\\") ? "\\" : "/";
  const path = `${scriptDirectory}${separator}${script}.ps1`.replaceAll("'", "''");
  const payload = Buffer.from(JSON.stringify(input), "utf8").toString("base64");
  return `& '${path}' -Payload '${payload}' -Call '${call}'`;
}

function toBackupError(failure: ShellFailure, call: ScriptCall): BackupError {
  const advice: Readonly<Record<ShellFailureKind, string>> = {
    unavailable: "Check the executable in the agent's settings.",
    crashed: "A new shell is started for the next call.",
    "timed-out": "The process and its children were ended; look at the load of the host.",
    cancelled: "The process and its children were ended.",
    "too-large": "The process was ended; report the script and the host's size.",
  };
  return new BackupError(
    CODE_OF[failure.kind],
    `${call.script}: ${failure.message}. ${advice[failure.kind]}`,
    {
      retry: failure.kind === "unavailable" ? "after-operator" : "later",
      facts: { script: call.script, stderr: tail(failure.stderr) },
      cause: failure,
    },
  );
}

function disposedError(script: string): BackupError {
  return new BackupError("CANCELLED", `${script}: the PowerShell host was closed. Start the agent again.`, {
    retry: "later",
  });
}

function tail(text: string): string {
  return text.slice(-2_000);
}
