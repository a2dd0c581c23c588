import { renameSync, writeFileSync } from "node:fs";

/** Replaces a JSON file in one step: after a kill it is the old one or the new one. */
export function writeJsonFile(file: string, value: unknown): void {
  writeFileSync(`${file}.new`, `${JSON.stringify(value, undefined, 1)}\n`);
  renameSync(`${file}.new`, file);
}
