import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DOCUMENTED_ELSEWHERE } from "./script-rules/allow-list.ts";
import { nodesOf, readScripts } from "./script-rules/parse.ts";

const scripts = readScripts();
const page = (name: string): Promise<string> =>
  readFile(join(import.meta.dirname, "../../docs", name), "utf8");

/** Functions and scripts that say INFERRED: the function whose comment it is, else the script. */
function inferredPlaces(): string[] {
  return scripts.flatMap(({ name, text, root }) =>
    nodesOf(root, "comment")
      .filter(
        (comment) =>
          comment.text.includes("INFERRED") && !(name.endsWith(".psm1") && comment.text.startsWith("<#")),
      )
      .map((comment) => {
        if (comment.text.startsWith("<#")) return name.slice(0, -4);
        const after = text.slice(comment.endIndex);
        return /^\s*(?:#.*\n\s*)*function ([\w-]+)/.exec(after)?.[1] ?? `${name}: INFERRED above no function`;
      }),
  );
}

test("everything inferred is on the verification page", async () => {
  const text = await page("verification.md");
  const places = inferredPlaces();
  expect(places.length).toBeGreaterThan(15);
  expect(places.filter((place) => !text.includes(`\`${place}\``))).toEqual([]);
});

test("every name with one source less is on the verification page", async () => {
  const text = await page("verification.md");
  const names = Object.values(DOCUMENTED_ELSEWHERE).flatMap(Object.keys);
  expect(names.filter((name) => !new RegExp(String.raw`\b${name}\b`).test(text))).toEqual([]);
});

test("every script and every code that a script can report is on the page of the commands", async () => {
  const text = await page("hyperv-commands.md");
  const names = scripts.filter(({ name }) => name.endsWith(".ps1")).map(({ name }) => name.slice(0, -4));
  expect(names.filter((name) => !text.includes(`| \`${name}\` |`))).toEqual([]);
  const codes = new Set(
    scripts.flatMap((script) => [...script.text.matchAll(/'(HV_[A-Z_]+)'/g)].map(([, code]) => code ?? "")),
  );
  expect([...codes].filter((code) => !text.includes(code.replace(/^(HV_DISKSHADOW).*/, "$1")))).toEqual([]);
});
