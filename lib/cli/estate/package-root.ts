import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** The folder of this program's package.json, whether it runs from its sources or compiled below `dist/`. */
export function packageRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, "package.json"))) folder = dirname(folder);
  return folder;
}
