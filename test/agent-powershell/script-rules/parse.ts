import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { readdirSync } from "node:fs";
import { Language, Parser, type Node } from "web-tree-sitter";

const require = createRequire(import.meta.url);

await Parser.init();
const parser = new Parser();
parser.setLanguage(
  await Language.load(require.resolve("tree-sitter-powershell/tree-sitter-powershell.wasm")),
);

/** One script or module as the rules see it. */
export interface ParsedScript {
  readonly name: string;
  readonly text: string;
  readonly root: Node;
}

export function parseScript(name: string, text: string): ParsedScript {
  const tree = parser.parse(text);
  if (tree === null) throw new Error(`${name} could not be parsed`);
  return { name, text, root: tree.rootNode };
}

export const SCRIPTS = join(import.meta.dirname, "../../../lib/agent/powershell/scripts");

export function readScripts(): ParsedScript[] {
  return readdirSync(SCRIPTS, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.psm?1$/.test(name))
    .sort()
    .map((name) => parseScript(name, readFileSync(join(SCRIPTS, name), "utf8")));
}

/** All nodes of these types, in order. */
export function nodesOf(node: Node, ...types: readonly string[]): Node[] {
  return node.descendantsOfType([...types]);
}

export function lineOf(node: Node): number {
  return node.startPosition.row + 1;
}

/** One call of a command: its name and its arguments by parameter; "" holds what has no parameter. */
export interface Command {
  readonly name: string;
  readonly node: Node;
  readonly parameters: ReadonlyMap<string, Node | null>;
  readonly positional: readonly Node[];
}

export function commandsIn(root: Node): Command[] {
  return nodesOf(root, "command").map((node) => {
    const name = node.childForFieldName("command_name")?.text ?? "";
    const elements = node.childForFieldName("command_elements");
    const parameters = new Map<string, Node | null>();
    const positional: Node[] = [];
    let open: string | undefined;
    for (const element of elements?.namedChildren ?? []) {
      if (element.type === "command_argument_sep") continue;
      if (element.type === "command_parameter") {
        open = element.text.replace(/^-/, "").replace(/:$/, "");
        parameters.set(open, null);
      } else if (open !== undefined) {
        parameters.set(open, element);
        open = undefined;
      } else positional.push(element);
    }
    return { name, node, parameters, positional };
  });
}

/** The text of a constant argument: a bare word or a string without variables. */
export function constantOf(node: Node | null | undefined): string | undefined {
  if (node === null || node === undefined) return undefined;
  const text = node.text;
  if (node.type === "generic_token") return text;
  const quoted = /^'((?:[^']|'')*)'$/.exec(text);
  return quoted?.[1]?.replaceAll("''", "'");
}
