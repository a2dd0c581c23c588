#!/usr/bin/env node
/*
 * A stand-in for powershell.exe: reads the lines that node-powershell writes, answers what its rules say, and records what
 * it was sent. It runs nothing. Files come in the environment:
 *   GCB_FAKE_RULES  { "<Script-Name>": [rule, ...] }; the first rule whose `when` and `input` match the state and input counts
 *   GCB_FAKE_STATE  what rules remember, shared by all shells of one host
 *   GCB_FAKE_LOG    one JSON line per line received
 * A rule: { when?, input?, nth?, do?: "value" | "error" | "hang" | "crash" | "garbage" | "silent" | "twice" | "huge" | "noise",
 *           value?, error?, then? }. In values, "$input.x" and "$state.x" are replaced, { "$if": state, "item": v } is a
 * conditional list element.
 */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";

const { GCB_FAKE_RULES: rulesPath, GCB_FAKE_STATE: statePath, GCB_FAKE_LOG: logPath } = process.env;
const rules = rulesPath === undefined ? {} : JSON.parse(readFileSync(rulesPath, "utf8"));

const log = (entry) =>
  logPath && appendFileSync(logPath, `${JSON.stringify({ pid: process.pid, ...entry })}\n`);
const loadState = () =>
  statePath && existsSync(statePath) ? JSON.parse(readFileSync(statePath, "utf8")) : { calls: {} };
const saveState = (state) => statePath && writeFileSync(statePath, JSON.stringify(state));
const matches = (wanted, actual) =>
  Object.entries(wanted ?? {}).every(
    ([key, value]) => JSON.stringify(actual[key] ?? false) === JSON.stringify(value),
  );

function fill(value, input, state) {
  if (typeof value === "string") {
    const found = /^\$(input|state)\.(\w+)$/.exec(value);
    if (found === null) return value;
    return (found[1] === "input" ? input : state)[found[2]] ?? "";
  }
  if (Array.isArray(value)) {
    return value
      .filter((each) => each?.$if === undefined || matches(each.$if, state))
      .map((each) => fill(each?.$if === undefined ? each : each.item, input, state));
  }
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, fill(each, input, state)]));
  }
  return value;
}

let isHanging = false;

function answer(script, input, call) {
  const state = loadState();
  state.calls[script] = (state.calls[script] ?? 0) + 1;
  const rule = (rules[script] ?? []).find(
    (each) =>
      matches(each.when, state) &&
      matches(each.input, input) &&
      (each.nth ?? state.calls[script]) === state.calls[script],
  );
  const value = fill(rule?.value ?? {}, input, state);
  if (rule?.then !== undefined) Object.assign(state, fill(rule.then, input, state));
  saveState(state);
  if (rule === undefined && script !== "Initialize-Shell") {
    const error = {
      code: "HV_UNEXPECTED",
      message: `the fake has no rule for ${script}`,
      remedy: "Add one.",
    };
    return process.stdout.write(`${JSON.stringify({ call, ok: false, error })}\n`);
  }
  const line = `${JSON.stringify({ call, ok: true, value })}\n`;
  switch (rule?.do ?? "value") {
    case "value":
      return process.stdout.write(line);
    case "error":
      return process.stdout.write(
        `${JSON.stringify({ call, ok: false, error: fill(rule.error, input, state) })}\n`,
      );
    case "hang": {
      isHanging = true;
      const child = spawn("sleep", ["600"], { stdio: "ignore" });
      return log({ childPid: child.pid });
    }
    case "crash":
      process.stderr.write("the fake was told to end here\n");
      return process.exit(rule.exitCode ?? 3);
    case "garbage":
      return process.stdout.write(`{"call":"${call}","ok":tr\u0000ue,,,\nPS C:\\> \n`);
    case "silent":
      return undefined;
    case "twice":
      return process.stdout.write(line + line);
    case "huge":
      return process.stdout.write(`${"x".repeat(rule.bytes)}\n${line}`);
    case "noise":
      process.stderr.write("WARNING: noise\n");
      return process.stdout.write(
        `VERBOSE: a line\n{"call":"0000","ok":true,"value":"stale"}\n${line}PS C:\\>\n`,
      );
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  if (isHanging) continue;
  const marker = /^\[Console\]::(Out|Error)\.WriteLine\("(\w+)"\)$/.exec(line);
  if (marker !== null) {
    (marker[1] === "Out" ? process.stdout : process.stderr).write(`${marker[2]}\n`);
    continue;
  }
  const call =
    /^& '(?:.*[\\/])([A-Za-z]+-[A-Za-z]+)\.ps1' -Payload '([A-Za-z0-9+/=]+)' -Call '([0-9a-f]+)'$/.exec(line);
  if (call === null) {
    if (line !== "") log({ unexpected: line });
    continue;
  }
  const input = JSON.parse(Buffer.from(call[2], "base64").toString("utf8"));
  log({ script: call[1], input, line, argv: process.argv.slice(2) });
  answer(call[1], input, call[3]);
}
