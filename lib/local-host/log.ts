export type LogLevel = "trace" | "debug" | "information" | "warning" | "error" | "critical";

/** One line of the host's or the app's log. */
export interface LogEntry {
  readonly level: LogLevel;
  /** `host` for this program, `user` for the app's own lines, `system` for the Functions library. */
  readonly category: "host" | "user" | "system" | "customMetric";
  readonly message: string;
  readonly functionName?: string;
  readonly invocationId?: string;
}

/** Where log lines go; must not throw. */
export type LogSink = (entry: LogEntry) => void;

const LEVELS: readonly string[] = ["trace", "debug", "information", "warning", "error", "critical"];

export function toLogLevel(level: string): LogLevel {
  return LEVELS.includes(level) ? (level as LogLevel) : "information";
}
