/** Writes reference-names.json from the reference: `node test/agent-powershell/script-rules/write-reference-names.ts`. */
import { writeFile } from "node:fs/promises";
import { readReferenceNames } from "./reference-names.ts";

await writeFile(
  new URL("reference-names.json", import.meta.url),
  `${JSON.stringify(await readReferenceNames(), null, 2)}\n`,
);
