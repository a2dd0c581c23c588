/** Writes docs/errors.md from the table of codes in lib/errors/codes.ts: `node tools/write-error-docs.ts`. */
import { writeFile } from "node:fs/promises";
import { renderErrorDocs } from "./error-docs.ts";

await writeFile(new URL("../docs/errors.md", import.meta.url), renderErrorDocs());
