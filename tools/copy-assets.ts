/** Copies the files that tsc does not: PowerShell scripts and other assets of lib/ next to their compiled modules. */
import { cp } from "node:fs/promises";
import { existsSync } from "node:fs";

for (const folder of ["lib/agent/powershell"]) {
  if (existsSync(folder)) {
    await cp(folder, `dist/${folder}`, {
      recursive: true,
      filter: (source) => !source.endsWith(".ts"),
    });
  }
}
