import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { renderErrorDocs } from "../../tools/error-docs.ts";

test("docs/errors.md lists every code as the table has it; node tools/write-error-docs.ts writes it anew", async () => {
  const written = await readFile(new URL("../../docs/errors.md", import.meta.url), "utf8");
  expect(written).toBe(renderErrorDocs());
});
