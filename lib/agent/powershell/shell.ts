import { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { PowerShell, type PSExecutableType } from "node-powershell";
import { endProcessTree } from "./process-tree.ts";

/** What came back from one line that was given to the shell. */
export interface ShellOutput {
  readonly stdout: string;
  readonly stderr: string;
}

/** Why a line has no answer. The shell is gone afterwards in every case. */
export type ShellFailureKind = "unavailable" | "crashed" | "timed-out" | "cancelled" | "too-large";

export class ShellFailure extends Error {
  override readonly name = "ShellFailure";
  readonly kind: ShellFailureKind;
  /** The end of what the process wrote to its error stream. */
  readonly stderr: string;

  constructor(kind: ShellFailureKind, message: string, stderr: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
    this.stderr = stderr;
  }
}

export interface ShellOptions {
  readonly executable: string;
  readonly executionPolicy: string;
  readonly environment?: NodeJS.ProcessEnv | undefined;
}

export interface LineOptions {
  readonly timeoutMs: number;
  readonly maximumOutputBytes: number;
  readonly signal?: AbortSignal | undefined;
}

const STDERR_KEPT = 16_384;

/** node-powershell lets the environment replace the executable; an agent runs the one of its settings. */
class ConfiguredPowerShell extends PowerShell {
  protected override setExecutable(options: { executable?: PSExecutableType }): string {
    return options.executable ?? "powershell.exe";
  }
}

/**
 * One PowerShell process, driven through node-powershell 5.0.1, one line at a time.
 * What that package leaves open is closed here: a time-out that ends the process tree, a bound on output, a process that
 * ends in the middle of a line, unhandled rejections and stream errors after its end, and a history that would grow for ever.
 */
export class Shell {
  readonly #shell: ConfiguredPowerShell;
  readonly #child: ChildProcess;
  #ended: "running" | "ended" | "never-started" = "running";
  #outputBytes = 0;
  #stderr = "";
  #overflow: (() => void) | undefined;

  constructor(options: ShellOptions) {
    try {
      this.#shell = new ConfiguredPowerShell({
        executable: options.executable,
        executableOptions: {
          "-NoProfile": true,
          "-NonInteractive": true,
          "-ExecutionPolicy": options.executionPolicy,
        },
        spawnOptions: { windowsHide: true, env: { ...process.env, ...options.environment } },
        throwOnInvocationError: false,
      });
    } catch (cause) {
      throw new ShellFailure("unavailable", `${options.executable} could not be started`, "", cause);
    }
    this.#child = innerProcess(this.#shell);
    // Without these the end of the process would reject or throw where nobody listens.
    void innerExit(this.#shell).catch(() => undefined);
    for (const stream of Object.values(this.#shell.streams)) stream.on("error", () => undefined);
    this.#child.on("error", () => {
      this.#ended = this.#child.pid === undefined ? "never-started" : "ended";
    });
    this.#child.on("exit", () => {
      this.#ended = "ended";
    });
    this.#shell.streams.stdout.on("data", (text: string) => this.#count(text));
    this.#shell.streams.stderr.on("data", (text: string) => {
      this.#count(text);
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
    });
  }

  get isAlive(): boolean {
    return this.#ended === "running";
  }

  /** Runs one line. @throws ShellFailure; the process and its children are gone then */
  async run(line: string, options: LineOptions): Promise<ShellOutput> {
    this.#outputBytes = 0;
    this.#stderr = "";
    if (options.signal?.aborted === true) {
      throw new ShellFailure("cancelled", "the call was cancelled before it began", "");
    }
    const outcome = await this.#race(line, options);
    if (outcome.kind === "answered") return outcome.output;
    await this.end();
    throw new ShellFailure(outcome.kind, outcome.message, this.#stderr, outcome.cause);
  }

  /** Ends the process and everything it started. */
  async end(): Promise<void> {
    const { pid } = this.#child;
    if (pid === undefined || !this.isAlive) return;
    const ended = once(this.#child, "exit").catch(() => undefined);
    await endProcessTree(pid);
    await ended;
  }

  #race(line: string, options: LineOptions): Promise<Outcome> {
    return new Promise((resolve) => {
      const { promise: settled, resolve: settle } = Promise.withResolvers<Outcome>();
      const timer = setTimeout(() => {
        settle({ kind: "timed-out", message: `no answer within ${options.timeoutMs} ms` });
      }, options.timeoutMs);
      const abort = (): void => settle({ kind: "cancelled", message: "the call was cancelled" });
      const exit = (): void => settle(this.#gone());
      options.signal?.addEventListener("abort", abort, { once: true });
      this.#child.once("exit", exit);
      this.#child.once("error", exit);
      this.#overflow = () => {
        if (this.#outputBytes <= options.maximumOutputBytes) return;
        settle({ kind: "too-large", message: `more than ${options.maximumOutputBytes} bytes of output` });
      };
      this.#shell.invoke(line).then(
        (result) => {
          // When the process ends in the middle, node-powershell resolves without any output.
          if (result.stdout === undefined) settle(this.#gone());
          else {
            const { stdout, stderr } = result;
            settle({
              kind: "answered",
              output: { stdout: stdout.toString("utf8"), stderr: stderr?.toString("utf8") ?? "" },
            });
          }
          this.#shell.history.length = 0;
        },
        (cause: unknown) => settle({ ...this.#gone(), cause }),
      );
      void settled.then((outcome) => {
        clearTimeout(timer);
        options.signal?.removeEventListener("abort", abort);
        this.#child.off("exit", exit);
        this.#child.off("error", exit);
        this.#overflow = undefined;
        resolve(outcome);
      });
    });
  }

  #gone(): Failed {
    if (this.#ended === "never-started" || this.#child.pid === undefined) {
      return { kind: "unavailable", message: `${this.#child.spawnfile} could not be started` };
    }
    const { exitCode, signalCode } = this.#child;
    return {
      kind: "crashed",
      message: `the process ended with ${signalCode ?? `exit code ${String(exitCode)}`}`,
    };
  }

  #count(text: string): void {
    this.#outputBytes += Buffer.byteLength(text);
    this.#overflow?.();
  }
}

interface Failed {
  readonly kind: ShellFailureKind;
  readonly message: string;
  readonly cause?: unknown;
}
type Outcome = { readonly kind: "answered"; readonly output: ShellOutput } | Failed;

/** The process behind a shell. The package keeps it private; its exact version is pinned and a test notices a change. */
function innerProcess(shell: PowerShell): ChildProcess {
  const child: unknown = Reflect.get(shell, "process");
  if (!(child instanceof ChildProcess))
    throw new TypeError("node-powershell has no process; is its version 5.0.1?");
  return child;
}

function innerExit(shell: PowerShell): Promise<unknown> {
  const promise: unknown = Reflect.get(shell, "exitPromise");
  if (!(promise instanceof Promise))
    throw new TypeError("node-powershell has no exitPromise; is its version 5.0.1?");
  return promise;
}
