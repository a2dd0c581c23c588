import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { commandsIn, parseScript, readScripts } from "./script-rules/parse.ts";
import { functionsOf, RULES } from "./script-rules/rules.ts";

const FOLDER = join(import.meta.dirname, "../pester");
const functions = functionsOf(readScripts());
const files = readdirSync(FOLDER).map((name) => parseScript(name, readFileSync(join(FOLDER, name), "utf8")));

// Pester runs on Windows CI only; what can be seen without it is seen here.
test.each(files.map((file) => [file.name, file] as const))(
  "%s parses and calls functions as they are",
  (_, file) => {
    expect(RULES["parses without an error"]?.(file, functions)).toEqual([]);
    expect(RULES["gives functions what they need and nothing they do not know"]?.(file, functions)).toEqual(
      [],
    );
    const gone = commandsIn(file.root).filter(({ name }) => /-Gcb/.test(name) && !functions.has(name));
    expect(gone.map(({ name }) => name)).toEqual([]);
  },
);

test("there are Pester tests for every module but diskshadow's, which needs a Windows Server", () => {
  const imported = files.map(({ text }) => text).join("\n");
  for (const name of ["Protocol", "State", "Wmi", "HyperV"]) expect(imported).toContain(name);
});
