import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The fake is a script with a shebang line: Windows cannot start it. */
export const CANNOT_FAKE = process.platform === "win32";

export const FAKE_POWERSHELL = join(import.meta.dirname, "fake-powershell.mjs");

export interface Rule {
  readonly when?: Readonly<Record<string, unknown>>;
  readonly input?: Readonly<Record<string, unknown>>;
  readonly nth?: number;
  readonly do?: "value" | "error" | "hang" | "crash" | "garbage" | "silent" | "twice" | "huge" | "noise";
  readonly value?: unknown;
  readonly error?: unknown;
  readonly bytes?: number;
  readonly exitCode?: number;
  readonly then?: Readonly<Record<string, unknown>>;
}

export interface Received {
  readonly pid: number;
  readonly script?: string;
  readonly input?: Readonly<Record<string, unknown>>;
  readonly line?: string;
  readonly argv?: readonly string[];
  readonly childPid?: number;
  readonly unexpected?: string;
}

export interface FakeShell extends AsyncDisposable {
  readonly environment: NodeJS.ProcessEnv;
  received(): Promise<readonly Received[]>;
}

/** Rules, state and log of one fake in a folder of its own. */
export async function fakeShell(rules: Readonly<Record<string, readonly Rule[]>>): Promise<FakeShell> {
  const folder = await mkdtemp(join(tmpdir(), "gcb-fake-shell-"));
  const at = (name: string): string => join(folder, name);
  await writeFile(at("rules.json"), JSON.stringify(rules));
  await writeFile(at("log.jsonl"), "");
  return {
    environment: {
      GCB_FAKE_RULES: at("rules.json"),
      GCB_FAKE_STATE: at("state.json"),
      GCB_FAKE_LOG: at("log.jsonl"),
    },
    async received() {
      const text = await readFile(at("log.jsonl"), "utf8");
      return text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Received);
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Whether a process runs. One that ended and waits for an init that never asks (a zombie, in containers) does not. */
export function isRunning(pid: number): boolean {
  const { stdout } = spawnSync("ps", ["-o", "stat=", "-p", String(pid)], { encoding: "utf8" });
  return stdout.trim() !== "" && !stdout.trim().startsWith("Z");
}
