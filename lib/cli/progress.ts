/** Shows long work: in place on a terminal, as plain lines in a pipe. Goes to stderr, so that stdout stays for results. */
export interface Progress {
  /** Begins a step; the one before counts as done. */
  step(title: string): void;
  /** What the step is at now. On a terminal it replaces the line; in a pipe it is printed at most every two seconds. */
  update(detail: string): void;
  /** Ends the step with what came out of it. */
  done(result?: string): void;
}

const PIPE_INTERVAL_MS = 2_000;

export function createProgress(
  stream: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number },
): Progress {
  const isTerminal = stream.isTTY === true;
  let title: string | undefined;
  let startedAt = 0;
  let printedAt = 0;

  const width = () => Math.max(40, (stream.columns ?? 100) - 1);
  const seconds = () => `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
  const progress: Progress = {
    step(next) {
      if (title !== undefined) progress.done();
      title = next;
      startedAt = performance.now();
      printedAt = startedAt;
      if (isTerminal) stream.write(`\r\u001b[2K  … ${next}`);
    },
    update(detail) {
      if (title === undefined) return;
      if (isTerminal) {
        stream.write(`\r\u001b[2K${`  … ${title}: ${detail}`.slice(0, width())}`);
      } else if (performance.now() - printedAt >= PIPE_INTERVAL_MS) {
        printedAt = performance.now();
        stream.write(`    ${title}: ${detail}\n`);
      }
    },
    done(result) {
      if (title === undefined) return;
      const line = `  ✓ ${title}${result === undefined ? "" : `: ${result}`} (${seconds()})`;
      stream.write(isTerminal ? `\r\u001b[2K${line}\n` : `${line}\n`);
      title = undefined;
    },
  };
  return progress;
}

/** 1536 → "1.5 KiB": three significant digits, binary units. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? String(value) : value.toPrecision(value >= 1000 ? 4 : 3)} ${units[power] ?? "B"}`;
}
