/** Writes the conformance table of docs/embedded-host.md from the suite's rows: `npx vitest` checks that they agree. */
import { readFile, writeFile } from "node:fs/promises";
import { registerHooks } from "node:module";

// The rows use vitest's `expect`, which only works inside vitest; here only their words are wanted.
registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "vitest"
      ? { url: "data:text/javascript,export const expect = undefined;", shortCircuit: true }
      : next(specifier, context),
});
const { rows } = await import("../test/local-host/conformance/rows.ts");
const { renderTable } = await import("../test/local-host/conformance/row.ts");

const page = new URL("../docs/embedded-host.md", import.meta.url);
const text = await readFile(page, "utf8");
const table = /\| area \| rule \| on Azure too \|\n(?:\|.*\n)*/;
if (!table.test(text)) throw new Error("docs/embedded-host.md has no conformance table to replace");
await writeFile(
  page,
  text.replace(table, () => `${renderTable(rows)}\n`),
);
