/** What a command may use of the outside; tests give their own. */
export interface CommandIo {
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
  readonly env: NodeJS.ProcessEnv;
  /** Aborted on SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
}

/** One word after `gcb`. `run` gets the arguments behind its own name and resolves to the exit code. */
export interface Command {
  readonly summary: string;
  readonly usage: string;
  run(args: readonly string[], io: CommandIo): Promise<number>;
}

/** Exit codes of every command: scripts can rely on them. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** Thrown for wrong words on the command line; the message is shown with the command's usage. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
