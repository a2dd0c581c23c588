import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { appDirectory, temporaryDirectory } from "./harness.ts";

const MAIN = path.join(import.meta.dirname, "../../lib/cli/main.ts");

function gcb(...args: string[]) {
  const child = spawn(process.execPath, [MAIN, "host", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  return { child, ended: once(child, "exit").then(([code]) => code as number | null), errors: () => errors };
}

async function linesUntil(output: NodeJS.ReadableStream, last: RegExp): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of createInterface({ input: output })) {
    lines.push(line);
    if (last.test(line)) break;
  }
  return lines;
}

test("gcb host start prints the functions and their URLs, refuses a second host, and ends cleanly on SIGTERM", async () => {
  await using data = await temporaryDirectory();
  const args = ["start", "--app", appDirectory("basics"), "--data", data.path, "--port", "0"];
  const first = gcb(...args);
  try {
    const lines = (await linesUntil(first.child.stdout, /^Listening on/)).join("\n");
    expect(lines).toMatch(
      /startOrchestrator: \[POST\] http:\/\/127\.0\.0\.1:\d+\/api\/orchestrators\/\{name\} \(function key\)/,
    );
    expect(lines).toMatch(/nightly: timerTrigger/);
    const url = /Listening on (\S+)/.exec(lines)?.[1] ?? "";
    expect(await (await fetch(`${url}/api/files/a`)).text()).toBe("a");
    const second = gcb(...args);
    expect(await second.ended).toBe(1);
    expect(second.errors()).toContain("HOST_DATA_IN_USE");
  } finally {
    first.child.kill("SIGTERM");
  }
  expect(await first.ended).toBe(0);
});

test.each([
  [["start"], "--app is missing"],
  [["stop"], '"host stop" is not known'],
  [["start", "--app", ".", "--port", "x"], "--port must be a whole number"],
  [["start", "--app", ".", "--colour"], "--colour"],
])("gcb host %j is a usage error", async (args, message) => {
  const { ended, errors } = gcb(...args);
  expect(await ended).toBe(2);
  expect(errors()).toContain(message);
});
