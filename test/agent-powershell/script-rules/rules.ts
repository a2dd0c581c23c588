import type { Node } from "web-tree-sitter";
import {
  CMDLETS,
  DOCUMENTED_ELSEWHERE,
  DOTNET_MEMBERS,
  NEW_OBJECTS,
  REFERENCE_NAMES,
  TYPES,
} from "./allow-list.ts";
import { commandsIn, constantOf, lineOf, nodesOf, type Command, type ParsedScript } from "./parse.ts";

/** A rule gives what is wrong with a script, in words; nothing when it keeps the rule. */
export type Rule = (script: ParsedScript, functions: ReadonlyMap<string, FunctionShape>) => string[];

/** What a function of the modules may and must be given. */
export interface FunctionShape {
  readonly module: string;
  readonly parameters: ReadonlySet<string>;
  readonly mandatory: ReadonlySet<string>;
}

const at = (script: ParsedScript, node: Node, what: string): string =>
  `${script.name}:${lineOf(node)} ${what}`;

const isScript = (script: ParsedScript): boolean => script.name.endsWith(".ps1");

/** The shapes of all functions, by name. */
export function functionsOf(scripts: readonly ParsedScript[]): Map<string, FunctionShape> {
  const shapes = new Map<string, FunctionShape>();
  for (const script of scripts) {
    for (const node of nodesOf(script.root, "function_statement")) {
      const name = nodesOf(node, "function_name")[0]?.text ?? "";
      const own = nodesOf(node, "script_parameter").filter((each) => enclosingFunction(each)?.id === node.id);
      const inBlock = own.filter(
        (each) =>
          nearest(each, "script_block_expression")?.id === nearest(node, "script_block_expression")?.id,
      );
      const names = inBlock.map((each) => ({
        name: each.namedChildren.find((child) => child.type === "variable")?.text.slice(1) ?? "",
        mandatory: each.text.includes("Mandatory = $true"),
      }));
      shapes.set(name, {
        module: script.name,
        parameters: new Set(names.map((each) => each.name)),
        mandatory: new Set(names.filter((each) => each.mandatory).map((each) => each.name)),
      });
    }
  }
  return shapes;
}

export const RULES: Readonly<Record<string, Rule>> = {
  "parses without an error": (script) => {
    const bad: string[] = [];
    const visit = (node: Node): void => {
      if (node.isError || node.isMissing)
        bad.push(at(script, node, `cannot be parsed near ${JSON.stringify(node.text.slice(0, 40))}`));
      else for (const child of node.children) visit(child);
    };
    visit(script.root);
    return bad;
  },

  // Windows PowerShell 5.1 reads a file without a byte order mark in the code page of the host.
  "is plain ASCII with line ends of one kind": (script) =>
    /^[\x20-\x7e\n]*$/.test(script.text)
      ? []
      : [`${script.name} has characters other than printable ASCII and line feeds`],

  "starts with its synopsis and names its source": (script) => {
    const help = /^<#\n\.SYNOPSIS\n {4}\S[\s\S]*?#>/.exec(script.text)?.[0] ?? "";
    return help !== "" && help.includes("Source:")
      ? []
      : [`${script.name} has no .SYNOPSIS with a "Source:"`];
  },

  "sets strict mode and stops at errors before it does anything": (script) => {
    const statements =
      script.root.namedChildren.find((each) => each.type === "statement_list")?.namedChildren ?? [];
    const [first, second] = statements.map((each) => each.text);
    return first === "Set-StrictMode -Version Latest" && second === "$ErrorActionPreference = 'Stop'"
      ? []
      : [`${script.name} begins with ${String(first)}; ${String(second)}`];
  },

  "takes typed parameters only": (script) =>
    nodesOf(script.root, "script_parameter")
      .filter((node) => !/\[[A-Za-z.]+(?:\[\])?\]\s*\$\w+/.test(node.text))
      .map((node) => at(script, node, `parameter without a type: ${node.text}`)),

  "is named verb-noun and answers once, through Invoke-GcbVerb": (script) => {
    if (!isScript(script)) return [];
    const calls = commandsIn(script.root).filter(({ name }) => name === "Invoke-GcbVerb");
    const isNamed = /^[A-Z][A-Za-z]+-[A-Z][A-Za-z]+\.ps1$/.test(script.name);
    return isNamed && calls.length === 1 ? [] : [`${script.name} calls Invoke-GcbVerb ${calls.length} times`];
  },

  "writes to the output only through the protocol": (script) =>
    /\[Console\]::Out\b/.test(script.text) && !script.name.endsWith("Gcb.Protocol.psm1")
      ? [`${script.name} writes to [Console]::Out`]
      : [],

  "calls only allowed cmdlets and functions, none by alias, variable or text": (script, functions) =>
    commandsIn(script.root).flatMap(({ name, node }) => {
      if (name === "$Body" && script.name.endsWith("Gcb.Protocol.psm1")) return [];
      return functions.has(name) || Object.hasOwn(CMDLETS, name) ? [] : [at(script, node, `calls ${name}`)];
    }),

  "gives cmdlets only parameters that both PowerShell versions have": (script) =>
    commandsIn(script.root).flatMap(({ name, node, parameters, positional }) => {
      const allowed = CMDLETS[name];
      if (allowed === undefined) return [];
      const unknown = [...parameters.keys()].filter((each) => !allowed.includes(each));
      return [
        ...unknown.map((each) => at(script, node, `${name} -${each}`)),
        ...positional.map((each) => at(script, each, `${name} with an argument that has no parameter name`)),
      ];
    }),

  "gives functions what they need and nothing they do not know": (script, functions) =>
    commandsIn(script.root).flatMap(({ name, node, parameters, positional }) => {
      const shape = functions.get(name);
      if (shape === undefined) return [];
      const common = new Set(["ErrorAction"]);
      return [
        ...[...parameters.keys()]
          .filter((each) => !shape.parameters.has(each) && !common.has(each))
          .map((each) => at(script, node, `${name} has no -${each}`)),
        ...[...shape.mandatory]
          .filter((each) => !parameters.has(each))
          .map((each) => at(script, node, `${name} lacks -${each}`)),
        ...positional.map((each) => at(script, each, `${name} with an argument that has no parameter name`)),
      ];
    }),

  "imports the modules whose functions it calls": (script, functions) => {
    const imported = [...script.text.matchAll(/'(Gcb\.\w+\.psm1)'/g)].map(([, name]) => name ?? "");
    return commandsIn(script.root).flatMap(({ name, node }) => {
      const module = functions.get(name)?.module;
      if (module === undefined || module === script.name) return [];
      return imported.some((each) => module.endsWith(each))
        ? []
        : [at(script, node, `${name} is in ${module}, which is not imported`)];
    });
  },

  "filters by the escaping helper or by a constant": (script) =>
    commandsIn(script.root).flatMap(({ parameters, node }) => {
      if (parameters.has("Query")) return [at(script, node, "uses -Query")];
      const filter = parameters.get("Filter");
      if (filter === undefined) return [];
      const isHelper =
        filter !== null && /^\(Format-GcbFilter -Property '[A-Za-z]+' -Value [^()]+\)$/.test(filter.text);
      return isHelper || constantOf(filter) !== undefined
        ? []
        : [at(script, node, `builds a filter: ${filter?.text ?? ""}`)];
    }),

  "names only WMI classes of the documentation": (script) => {
    const named = commandsIn(script.root).flatMap(({ parameters, node }) =>
      ["ClassName", "ResultClassName", "Association"].flatMap((parameter) => {
        if (!parameters.has(parameter)) return [];
        const name = constantOf(parameters.get(parameter));
        const isPassedOn = /^\$(?:ClassName|Namespace)$/.test(parameters.get(parameter)?.text ?? "");
        if (isPassedOn && script.name.endsWith("Gcb.Wmi.psm1")) return [];
        return name !== undefined && isClass(name)
          ? []
          : [at(script, node, `-${parameter} ${parameters.get(parameter)?.text ?? ""}`)];
      }),
    );
    const inCode = [...script.text.matchAll(/\b(?:Msvm|Win32|CIM|MSFT)_[A-Za-z]\w*/g)]
      .map(([name]) => name)
      .filter((name) => !isClass(name) && name !== "Msvm_VirtualHardDiskSettingData");
    return [...named, ...inCode.map((name) => `${script.name} mentions ${name}`)];
  },

  "calls only WMI methods of the documentation, with their own parameters": (script) =>
    commandsIn(script.root).flatMap(({ name, parameters, node }) => {
      if (!parameters.has("MethodName")) return [];
      const method = constantOf(parameters.get("MethodName"));
      if (method === undefined) {
        const isPassedOn =
          script.name.endsWith("Gcb.Wmi.psm1") && parameters.get("MethodName")?.text === "$MethodName";
        return isPassedOn ? [] : [at(script, node, `${name} with a method that is no constant`)];
      }
      const shapes = parameterListsOf(method);
      if (shapes.length === 0) return [at(script, node, `unknown method ${method}`)];
      const given = argumentNamesOf(parameters.get("Arguments"), script);
      const fits = shapes.some((shape) => given.every((each) => shape.includes(each)));
      return fits ? [] : [at(script, node, `${method} with ${given.join(", ")}`)];
    }),

  "reads only members of the documentation, of .NET, or of its own records": (script) =>
    nodesOf(script.root, "member_access", "invokation_expression").flatMap((node) => {
      const member = node.namedChildren.find((each) => each.type === "member_name");
      const name = member?.text ?? "";
      const isOwn = /^[a-z][A-Za-z]*$/.test(name);
      return isOwn || isMember(name) || DOTNET_MEMBERS.has(name) ? [] : [at(script, node, `member ${name}`)];
    }),

  "asks for properties by name only of the documentation": (script) =>
    commandsIn(script.root).flatMap(({ name, parameters, node }) => {
      if (name !== "Get-GcbProperty" && name !== "Format-GcbFilter") return [];
      const argument = parameters.get(name === "Get-GcbProperty" ? "Name" : "Property");
      const property = constantOf(argument);
      const isPassedOn = script.name.endsWith("Gcb.Wmi.psm1") && /^\$\w+$/.test(argument?.text ?? "");
      return isPassedOn || (property !== undefined && isMember(property))
        ? []
        : [at(script, node, `property ${argument?.text ?? ""}`)];
    }),

  "uses only allowed .NET types": (script) => [
    ...nodesOf(script.root, "type_literal", "attribute").flatMap((node) => {
      const name = /^\[\s*([A-Za-z][\w.]*)/.exec(node.text)?.[1] ?? node.text;
      return TYPES.has(name) ? [] : [at(script, node, `type ${node.text}`)];
    }),
    ...commandsIn(script.root).flatMap(({ name, parameters, node }) => {
      if (name !== "New-Object") return [];
      const type = constantOf(parameters.get("TypeName"));
      return type !== undefined && NEW_OBJECTS.has(type)
        ? []
        : [at(script, node, `New-Object ${String(type)}`)];
    }),
  ],

  "reads no variable that nothing sets": (script) => {
    const automatic = new Set("_ true false null PSScriptRoot PSVersionTable PID".split(" "));
    return nodesOf(script.root, "variable").flatMap((node) => {
      const name = node.text.replace(/^\$\{?(?:script:|global:)?/i, "").replace(/\}$/, "");
      if (automatic.has(name) || isSet(name, node, script)) return [];
      return [at(script, node, `variable ${node.text} is never set`)];
    });
  },

  "keeps to what Windows PowerShell 5.1 understands": (script) => {
    const newer = [
      /\?\?/,
      /\?\./,
      /&&/,
      /\|\|/,
      /-Parallel\b/,
      /-AsHashtable\b/,
      /-AsArray\b/,
      /::new\(/,
      /\bGet-WmiObject\b/,
    ];
    const code = withoutText(script);
    return newer.filter((each) => each.test(code)).map((each) => `${script.name} uses ${String(each)}`);
  },
};

function isClass(name: string): boolean {
  return Object.hasOwn(REFERENCE_NAMES.classes, name) || Object.hasOwn(DOCUMENTED_ELSEWHERE.classes, name);
}

function isMember(name: string): boolean {
  return Object.hasOwn(REFERENCE_NAMES.members, name) || Object.hasOwn(DOCUMENTED_ELSEWHERE.members, name);
}

function parameterListsOf(method: string): readonly (readonly string[])[] {
  const listed = (REFERENCE_NAMES.methods[method] ?? []).map(({ parameters }) => parameters);
  const elsewhere = Object.entries(DOCUMENTED_ELSEWHERE.methods).filter(([name]) => name === method);
  return [...listed, ...elsewhere.map(([, { parameters }]) => parameters)];
}

/** The keys of an argument table: a literal one, or the variable that holds one with everything put into it. */
function argumentNamesOf(node: Node | null | undefined, script: ParsedScript): string[] {
  if (node === null || node === undefined) return [];
  const variable = /^\$(\w+)$/.exec(node.text)?.[1];
  if (variable === undefined) return keysOf(node);
  const scope = enclosingFunction(node) ?? script.root;
  const assigned = nodesOf(scope, "assignment_expression").filter((each) =>
    each.text.startsWith(`$${variable} = @{`),
  );
  const added = [...scope.text.matchAll(new RegExp(String.raw`\$${variable}\['(\w+)'\] =`, "g"))].map(
    ([, key]) => key ?? "",
  );
  return [...assigned.flatMap(keysOf), ...added];
}

function keysOf(node: Node): string[] {
  const table = nodesOf(node, "hash_literal_expression")[0];
  if (table === undefined) return [];
  return nodesOf(table, "hash_entry")
    .filter((entry) => nearest(entry, "hash_literal_expression")?.id === table.id)
    .map((entry) => entry.namedChildren.find((child) => child.type === "key_expression")?.text ?? "");
}

function isSet(name: string, node: Node, script: ParsedScript): boolean {
  const scope = enclosingFunction(node) ?? script.root;
  return setIn(scope, name) || setAtTop(script.root, name);
}

function setIn(scope: Node, name: string): boolean {
  return (
    nodesOf(scope, "left_assignment_expression").some((each) => bare(each.text) === name) ||
    nodesOf(scope, "script_parameter").some((each) =>
      new RegExp(String.raw`\$${name}\b`, "i").test(each.text),
    ) ||
    nodesOf(scope, "foreach_statement").some((each) => each.text.startsWith(`foreach ($${name} in`))
  );
}

/** Set outside of every function: module variables and the script's own parameters. */
function setAtTop(root: Node, name: string): boolean {
  return nodesOf(root, "left_assignment_expression", "script_parameter").some(
    (each) => enclosingFunction(each) === undefined && bare(each.text) === name,
  );
}

function bare(text: string): string {
  return /\$(?:script:|global:)?(\w+)/i.exec(text)?.[1] ?? "";
}

function enclosingFunction(node: Node): Node | undefined {
  return nearest(node, "function_statement");
}

function nearest(node: Node, type: string): Node | undefined {
  for (let each = node.parent; each !== null; each = each.parent) if (each.type === type) return each;
  return undefined;
}

/** The text of a script with strings and comments blanked. */
function withoutText(script: ParsedScript): string {
  let text = script.text;
  for (const node of nodesOf(script.root, "comment", "string_literal")) {
    text =
      text.slice(0, node.startIndex) +
      " ".repeat(node.endIndex - node.startIndex) +
      text.slice(node.endIndex);
  }
  return text;
}

export type { Command };
