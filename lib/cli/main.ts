#!/usr/bin/env node
import { toErrorDocument } from "../errors/index.ts";
import { EXIT, UsageError, type Command, type CommandIo } from "./command.ts";

/** Loaded when asked for, so that `gcb image info` does not load the Functions packages. */
const COMMANDS: Readonly<Record<string, { readonly summary: string; load(): Promise<Command> }>> = {
  agent: {
    summary: "run the host agent",
    load: async () => (await import("./commands/agent.ts")).default,
  },
  demo: {
    summary: "back up, restore and prove a simulated guest cluster",
    load: async () => (await import("./commands/demo.ts")).default,
  },
  host: {
    summary: "run a Functions app on this machine",
    load: async () => (await import("./commands/host.ts")).default,
  },
  "simulated-host": {
    summary: "a Hyper-V host for trials and tests, without Hyper-V",
    load: async () => (await import("./commands/simulated-host.ts")).default,
  },
  image: {
    summary: "look at, check, make and convert disk images",
    load: async () => (await import("./commands/image.ts")).default,
  },
  start: {
    summary: "run the demo's estate until Ctrl+C",
    load: async () => (await import("./commands/start.ts")).default,
  },
};

function overview(): string {
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(16)}${summary}`);
  return [
    "usage: gcb COMMAND [ARGUMENTS]",
    "",
    ...lines,
    "",
    "gcb COMMAND --help shows the arguments of one.",
  ].join("\n");
}

async function main(argv: readonly string[], io: CommandIo): Promise<number> {
  const [name, ...args] = argv;
  if (name === undefined || name === "help" || name === "--help") {
    io.stdout.write(`${overview()}\n`);
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) {
    io.stderr.write(`gcb: there is no command "${name}"\n${overview()}\n`);
    return EXIT.usage;
  }
  const command = await entry.load();
  if (args.includes("--help")) {
    io.stdout.write(`${command.usage}\n`);
    return EXIT.ok;
  }
  try {
    return await command.run(args, io);
  } catch (error) {
    return report(error, command, args.includes("--json"), io);
  }
}

function report(error: unknown, command: Command, asJson: boolean, io: CommandIo): number {
  if (error instanceof UsageError || isParseArgsError(error)) {
    io.stderr.write(`gcb: ${error.message}\n${command.usage}\n`);
    return EXIT.usage;
  }
  const document = toErrorDocument(error);
  if (asJson) io.stdout.write(`${JSON.stringify({ ok: false, error: document })}\n`);
  io.stderr.write(`gcb: ${document.code}: ${document.message}\n`);
  if (document.code === "INTERNAL" && error instanceof Error) io.stderr.write(`${error.stack ?? ""}\n`);
  return EXIT.failed;
}

/** What node:util parseArgs throws for an unknown option or a missing value. */
function isParseArgsError(error: unknown): error is Error {
  return error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
}

const OLDEST_NODE = 24;

/** An older Node would fail later and less clearly, at the first module that it lacks. */
function insistOnNode(): void {
  if (Number.parseInt(process.versions.node, 10) >= OLDEST_NODE) return;
  process.stderr.write(
    `gcb needs Node.js ${String(OLDEST_NODE)} or later, this is ${process.version}. ` +
      "In a checkout, npm run … uses the one that npm ci installed (node_modules/.bin/node).\n",
  );
  process.exit(EXIT.failed);
}

insistOnNode();
const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.once(name, () => {
    stop.abort();
  });
}
process.exitCode = await main(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: stop.signal,
});
