import { readdir, readFile } from "node:fs/promises";
import { join, relative, resolve, sep } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const LIB = resolve(import.meta.dirname, "../lib");

/** The import table of docs/architecture.md: what each room of lib/ may import besides itself and packages. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  contracts: ["errors"],
  vhdx: ["errors", "contracts"],
  changes: ["errors", "contracts"],
  repository: ["errors", "contracts", "changes"],
  restore: ["errors", "contracts", "repository", "vhdx", "changes"],
  relay: ["errors", "contracts"],
  agent: ["errors", "contracts", "relay", "changes", "vhdx", "repository", "restore"],
  orchestration: ["errors", "contracts"],
  "local-host": ["errors"],
  "simulated-host": ["errors", "contracts", "vhdx", "changes", "agent/hyperv-host.ts"],
  console: ["contracts"],
  cli: ["*"],
};

/** Packages that only some rooms may load, so that a heavy or platform-bound one stays where it belongs. */
const PACKAGE_ROOMS: Readonly<Record<string, readonly string[]>> = {
  "node-powershell": ["agent"],
  "durable-functions": [],
  "@azure/functions": [],
  "@azure/storage-blob": ["repository", "cli"],
  ws: ["relay"],
};

interface Import {
  readonly from: string;
  readonly to: string;
  readonly isTypeOnly: boolean;
}

async function sourcesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name));
}

async function importsOf(file: string): Promise<Import[]> {
  const source = ts.createSourceFile(file, await readFile(file, "utf8"), ts.ScriptTarget.Latest, true);
  const found: Import[] = [];
  const visit = (node: ts.Node): void => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier !== undefined &&
      ts.isStringLiteral(node.moduleSpecifier)
    ) {
      const isTypeOnly = ts.isImportDeclaration(node)
        ? node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
        : node.isTypeOnly;
      found.push({ from: file, to: node.moduleSpecifier.text, isTypeOnly });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments;
      if (argument !== undefined && ts.isStringLiteralLike(argument)) {
        found.push({ from: file, to: argument.text, isTypeOnly: false });
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function inLib(file: string): string {
  return relative(LIB, file).split(sep).join("/");
}

const files = await sourcesOf(LIB);
const imports = (await Promise.all(files.map(importsOf))).flat();

describe("the rooms of lib/", () => {
  test("import only what their row of the table allows", () => {
    const offences: string[] = [];
    for (const { from, to } of imports.filter((each) => each.to.startsWith("."))) {
      const target = resolve(from, "..", to);
      const path = inLib(target);
      const room = inLib(from).split("/")[0] ?? "";
      const targetRoom = path.startsWith("..") ? path : (path.split("/")[0] ?? "");
      const row = MAY_IMPORT[room];
      if (row === undefined) offences.push(`${inLib(from)}: room "${room}" has no row in the table`);
      else if (
        targetRoom !== room &&
        !row.some((each) => each === "*" || each === targetRoom || each === path)
      ) {
        offences.push(
          `${inLib(from)} imports ${to}, but ${room} may import only: ${row.join(", ") || "nothing"}`,
        );
      }
    }
    expect(offences).toEqual([]);
  });

  test("load a restricted package only where it belongs", () => {
    const offences = imports
      .filter(({ to, from }) => {
        const rooms = PACKAGE_ROOMS[to];
        return rooms !== undefined && !rooms.includes(inLib(from).split("/")[0] ?? "");
      })
      .map(({ from, to }) => `${inLib(from)} imports ${to}`);
    expect(offences).toEqual([]);
  });

  test("have no import cycle among their modules", () => {
    const edges = new Map<string, string[]>();
    for (const { from, to, isTypeOnly } of imports) {
      if (isTypeOnly || !to.startsWith(".")) continue;
      edges.set(from, [...(edges.get(from) ?? []), resolve(from, "..", to)]);
    }
    expect(cycleIn(edges).map(inLib)).toEqual([]);
  });

  test("reach stand-ins only from the composition root", () => {
    const offences = imports
      .filter(({ from, to }) => {
        const target = to.startsWith(".") ? inLib(resolve(from, "..", to)) : to;
        const isStandIn = target.startsWith("simulated-host/") || target.startsWith("relay/emulator/");
        const fromPath = inLib(from);
        const isInside = fromPath.startsWith("simulated-host/") || fromPath.startsWith("relay/emulator/");
        return isStandIn && !isInside && !fromPath.startsWith("cli/");
      })
      .map(({ from, to }) => `${inLib(from)} imports ${to}`);
    expect(offences).toEqual([]);
  });
});

/** The modules of one cycle, or none. */
function cycleIn(edges: ReadonlyMap<string, readonly string[]>): string[] {
  const finished = new Set<string>();
  const path: string[] = [];
  const walk = (module: string): string[] => {
    const at = path.indexOf(module);
    if (at >= 0) return path.slice(at);
    if (finished.has(module)) return [];
    path.push(module);
    for (const next of edges.get(module) ?? []) {
      const cycle = walk(next);
      if (cycle.length > 0) return cycle;
    }
    path.pop();
    finished.add(module);
    return [];
  };
  for (const module of edges.keys()) {
    const cycle = walk(module);
    if (cycle.length > 0) return cycle;
  }
  return [];
}
