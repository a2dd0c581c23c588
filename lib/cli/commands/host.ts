import { parseArgs } from "node:util";
import path from "node:path";
import { startHost, type LogEntry, type RunningHost } from "../../local-host/index.ts";
import { EXIT, UsageError, type Command, type CommandIo } from "../command.ts";

const usage = [
  "usage: gcb host start --app DIR [--data DIR] [--port N] [--host ADDRESS] [--purge-after DAYS] [--no-auth] [--verbose]",
  "",
  "Runs a Functions app (Node model v4, Durable Functions) on this machine, without Azure.",
  "  --app DIR           the folder of the app's package.json and host.json",
  "  --data DIR          history, keys and lock (default: .gcb/host in the app's folder)",
  "  --port N            default 7071; 0 takes a free one",
  "  --host ADDRESS      default 127.0.0.1",
  "  --purge-after DAYS  remove finished orchestrations after so many days",
  "  --no-auth           no keys; on a loopback address only",
  "  --verbose           also show debug lines",
].join("\n");

const OPTIONS = {
  app: { type: "string" },
  data: { type: "string" },
  port: { type: "string", default: "7071" },
  host: { type: "string", default: "127.0.0.1" },
  "purge-after": { type: "string" },
  "no-auth": { type: "boolean", default: false },
  verbose: { type: "boolean", default: false },
} as const;

async function run(args: readonly string[], io: CommandIo): Promise<number> {
  const [verb, ...rest] = args;
  if (verb !== "start") throw new UsageError(`"host ${verb ?? ""}" is not known; use "host start"`);
  const { values } = parseArgs({ args: rest, options: OPTIONS });
  if (values.app === undefined) throw new UsageError("--app is missing");
  const purgeAfter = values["purge-after"];
  const host = await startHost({
    appDirectory: path.resolve(values.app),
    dataDirectory: path.resolve(values.data ?? path.join(values.app, ".gcb", "host")),
    port: wholeNumber("--port", values.port, 65_535),
    host: values.host,
    auth: values["no-auth"] ? "off" : "keys",
    log: (entry) => {
      if (entry.level !== "trace" && (entry.level !== "debug" || values.verbose))
        io.stderr.write(`${logLine(entry)}\n`);
    },
    ...(purgeAfter === undefined
      ? {}
      : { purgeAfterMs: wholeNumber("--purge-after", purgeAfter, 36_500) * 86_400_000 }),
  });
  io.stdout.write(`${overview(host)}\n`);
  if (!io.signal.aborted) {
    await new Promise((resolve) => {
      io.signal.addEventListener("abort", resolve, { once: true });
    });
  }
  io.stderr.write("Ending: letting what runs finish.\n");
  await host.close();
  return EXIT.ok;
}

/** The functions and their URLs, in the manner of Core Tools. */
function overview(host: RunningHost): string {
  const lines = ["Functions:", ""];
  for (const { name, trigger, methods, url, authLevel } of host.functions) {
    const shown =
      url === undefined
        ? trigger
        : `[${methods?.join(",") ?? ""}] ${url}${authLevel === "anonymous" ? "" : ` (${authLevel ?? ""} key)`}`;
    lines.push(`  ${name}: ${shown}`, "");
  }
  const keys =
    host.keys === undefined
      ? "Keys are OFF: anyone on this machine may call."
      : "Keys: keys.json in the data folder; send x-functions-key or ?code=.";
  return [...lines, keys, `Listening on ${host.url}`].join("\n");
}

function logLine({ level, functionName, message }: LogEntry): string {
  return `[${new Date().toISOString()}] ${level}: ${functionName === undefined ? "" : `${functionName}: `}${message}`;
}

function wholeNumber(option: string, text: string, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > max)
    throw new UsageError(`${option} must be a whole number up to ${max}`);
  return value;
}

export default { summary: "run a Functions app on this machine", usage, run } satisfies Command;
