import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { createScriptRunner, type ScriptRunner } from "../../lib/agent/powershell/runner.ts";
import { SCRIPTS } from "./script-rules/parse.ts";

/*
 * The runner and the scripts under a real PowerShell, where one is on PATH. Hyper-V is not needed: without it the scripts must
 * say so on the wire.
 */

function isOnPath(executable: string): boolean {
  const { status } = spawnSync(executable, ["-NoProfile", "-Command", "exit 0"], {
    stdio: "ignore",
    timeout: 30_000,
  });
  return status === 0;
}

function open(executable: string): ScriptRunner {
  return createScriptRunner({
    executable,
    executionPolicy: "Bypass",
    scriptDirectory: SCRIPTS,
    maximumOutputBytes: 1_000_000,
    log: () => undefined,
  });
}

describe.each(["pwsh", "powershell.exe"])("under a real %s", (executable) => {
  const absent = !isOnPath(executable);
  const common = { purpose: "query", timeoutMs: 60_000, repeatable: false } as const;

  test.skipIf(absent)(
    "a shell starts, says its version, and goes on answering (skipped where there is none)",
    async () => {
      const runner = open(executable);
      try {
        for (let call = 0; call < 3; call++) {
          const outcome = await runner.run({ ...common, script: "Initialize-Shell", input: {} });
          expect(outcome).toMatchObject({
            kind: "value",
            value: { processId: expect.any(Number) as number },
          });
        }
      } finally {
        await runner.dispose();
      }
    },
  );

  test.skipIf(absent)(
    "a script without its namespace answers with an error document (skipped where there is none)",
    async () => {
      const runner = open(executable);
      try {
        const input = { settings: { namespace: "root\\gcb\\absent" } };
        const outcome = await runner.run({ ...common, script: "Get-HostDescription", input });
        expect(outcome).toMatchObject({ kind: "failed" });
        if (outcome.kind === "failed") expect(outcome.error.message).not.toBe("");
      } finally {
        await runner.dispose();
      }
    },
  );
});
