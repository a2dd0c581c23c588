import type * as z from "zod";
import { fileURLToPath } from "node:url";
import { createHost, type PowerShellHost } from "./host.ts";
import { createScriptRunner, type PowerShellLog } from "./runner.ts";
import { PowerShellSettings } from "./settings.ts";

export type { PowerShellHost } from "./host.ts";
export type { VirtualMachineRestore } from "./restore.ts";
export type { PowerShellLog } from "./runner.ts";
export { PowerShellSettings } from "./settings.ts";

export interface PowerShellHostOptions {
  /** `powershell.exe` (Windows PowerShell 5.1, the default), `pwsh`, or the path of one of them. */
  readonly executable?: string;
  /** As they stand in the agent's configuration; what is absent has its documented default. */
  readonly settings?: z.input<typeof PowerShellSettings>;
  readonly log?: PowerShellLog;
  /** Added to the environment of the shells. */
  readonly environment?: NodeJS.ProcessEnv;
}

/**
 * The Hyper-V host that this process runs on. Shells start with the first call and live until the host is disposed of; the
 * process needs local administrator rights.
 *
 * @throws z.ZodError when a setting is malformed
 */
export function createPowerShellHost(options: PowerShellHostOptions = {}): PowerShellHost {
  const settings = PowerShellSettings.parse(options.settings ?? {});
  const runner = createScriptRunner({
    executable: options.executable ?? "powershell.exe",
    executionPolicy: settings.executionPolicy,
    environment: options.environment,
    scriptDirectory: fileURLToPath(new URL("scripts", import.meta.url)),
    maximumOutputBytes: settings.maximumOutputBytes,
    log: options.log ?? (() => undefined),
  });
  return createHost(runner, settings);
}
