import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { BackupError } from "../../errors/index.ts";

/** A service of the estate in a process of its own, as it would be on its own machine. */
export interface ServiceProcess<Ready> extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  /** What the service said about itself when it was ready, for example its port. */
  readonly ready: Ready;
  /** Ends it at once, without a chance to tidy up (SIGKILL): what a power cut looks like. */
  kill(): Promise<void>;
  /** Asks it to end (SIGTERM) and waits; after 20 s it is killed. */
  stop(): Promise<void>;
}

export interface ServiceOptions<Ready> {
  readonly name: string;
  /** Arguments for the Node that runs this program: a script and what it gets. */
  readonly nodeArguments: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Everything it prints goes here. */
  readonly logFile: string;
  /** Reads a line of its stdout; a value means that the service is ready. */
  readonly readyWhen: (line: string) => Ready | undefined;
  readonly readyWithinMs?: number;
}

/** @throws BackupError ESTATE_SERVICE_FAILED when the service ends, or is silent for too long, before it is ready */
export async function startService<Ready>(options: ServiceOptions<Ready>): Promise<ServiceProcess<Ready>> {
  const child = spawn(process.execPath, options.nodeArguments, {
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = createWriteStream(options.logFile, { flags: "a" });
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  const ended = once(child, "close").finally(() => log.end());
  const { pid } = child;
  const ready = await readiness(child, options, ended);
  if (pid === undefined) throw failed(options, "it could not be started");

  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
    await ended;
    clearTimeout(timer);
  };
  return {
    name: options.name,
    pid,
    ready,
    kill: () => end("SIGKILL"),
    stop: () => end("SIGTERM"),
    [Symbol.asyncDispose]: () => end("SIGTERM"),
  };
}

function readiness<Ready>(
  child: ChildProcess,
  options: ServiceOptions<Ready>,
  ended: Promise<unknown>,
): Promise<Ready> {
  const withinMs = options.readyWithinMs ?? 60_000;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(failed(options, `it was not ready within ${String(withinMs)} ms`));
    }, withinMs);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      act();
    };
    ended.then(
      () => settle(() => reject(failed(options, `it ended with exit code ${String(child.exitCode)}`))),
      (error: unknown) => settle(() => reject(failed(options, String(error)))),
    );
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).on("line", (line) => {
      const ready = options.readyWhen(line);
      if (ready !== undefined) settle(() => resolve(ready));
    });
  });
}

function failed(options: { readonly name: string; readonly logFile: string }, why: string): BackupError {
  return new BackupError(
    "ESTATE_SERVICE_FAILED",
    `${options.name} did not start: ${why}; its log is ${options.logFile}`,
    {
      retry: "after-operator",
      facts: { service: options.name, logFile: options.logFile },
    },
  );
}

/** A `readyWhen` for services that print one JSON line with what the caller needs. */
export function jsonLine<T>(parse: (value: unknown) => T | undefined): (line: string) => T | undefined {
  return (line) => {
    if (!line.startsWith("{")) return undefined;
    try {
      return parse(JSON.parse(line));
    } catch {
      return undefined;
    }
  };
}
