import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";

/** The reference of the Hyper-V API that the project is built from; it lies beside the project, not in it. */
export const REFERENCE = resolve(import.meta.dirname, "../../../../shared/reference/hyperv.md");
export const HAS_REFERENCE = existsSync(REFERENCE);

/** Names that may stand in a script, each with the section of the reference that has it. */
export interface ReferenceNames {
  readonly classes: Readonly<Record<string, string>>;
  readonly cmdlets: Readonly<Record<string, string>>;
  readonly members: Readonly<Record<string, string>>;
  /** Method → the parameter lists that the reference gives for it (several classes share method names). */
  readonly methods: Readonly<
    Record<string, readonly { readonly section: string; readonly parameters: readonly string[] }[]>
  >;
}

/**
 * Reads the names out of the reference: classes and cmdlets anywhere, members from code spans and code blocks, methods from
 * tables headed "Method" and from code spans of the form `Name(in type Parameter, ...)`.
 */
export async function readReferenceNames(): Promise<ReferenceNames> {
  const classes: Record<string, string> = {};
  const cmdlets: Record<string, string> = {};
  const members: Record<string, string> = {};
  const methods: Record<string, { section: string; parameters: string[] }[]> = {};
  let section = "intro";
  let isCode = false;
  let isMethodTable = false;
  const note = (table: Record<string, string>, name: string): void => void (table[name] ??= section);
  const noteMethod = (name: string, parameters: string[]): void => {
    (methods[name] ??= []).push({ section, parameters: [...new Set(parameters)].sort() });
  };
  for (const line of (await readFile(REFERENCE, "utf8")).split("\n")) {
    if (line.startsWith("```")) {
      isCode = !isCode;
      continue;
    }
    const heading = /^#{2,3} (\d+(?:\.\d+)?)\.? /.exec(line);
    if (heading?.[1] !== undefined) section = heading[1];
    for (const [name] of line.matchAll(/\b(?:Msvm|Win32|CIM|MSFT)_[A-Za-z]\w*/g)) note(classes, name);
    const spans = isCode ? [line] : [...line.matchAll(/`([^`]+)`/g)].map(([, span]) => span ?? "");
    for (const span of spans) {
      for (const [name] of span.matchAll(/\b[A-Z][A-Za-z]+-[A-Z][A-Za-z]+\b/g)) note(cmdlets, name);
      for (const [name] of span.matchAll(/\b[A-Z][A-Za-z0-9]*\b/g)) note(members, name);
    }
    if (isCode) continue;
    if (/^\| Method \|/.test(line)) isMethodTable = true;
    else if (!line.startsWith("|")) isMethodTable = false;
    if (isMethodTable) {
      const [, first = "", ...rest] = line.split("|");
      const [name] = [...first.matchAll(/`(\w+)`/g)].map(([, found]) => found ?? "");
      if (name !== undefined) noteMethod(name, parametersIn(rest.join("|")));
    }
    for (const [, name, list] of line.matchAll(/`?\b([A-Z]\w+)\(((?:in|out)[^)`]*)\)/g)) {
      if (name !== undefined && list !== undefined) noteMethod(name, wordsIn(list));
    }
    for (const [, name] of line.matchAll(/`([A-Z]\w+)\(\)`/g)) if (name !== undefined) noteMethod(name, []);
  }
  return {
    classes: sorted(classes),
    cmdlets: sorted(cmdlets),
    members: sorted(members),
    methods: sorted(methods),
  };
}

/** Parameters of a table row stand in code spans, types outside of them. */
function parametersIn(cells: string): string[] {
  return [...cells.matchAll(/`(\w+)(?:\[\])?`/g)].map(([, name]) => name ?? "");
}

function wordsIn(list: string): string[] {
  return [...list.replaceAll(/\{[^}]*\}/g, "").matchAll(/\b[A-Z]\w*/g)].map(([name]) => name);
}

function sorted<T>(table: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(table).sort(([a], [b]) => (a < b ? -1 : 1)));
}
