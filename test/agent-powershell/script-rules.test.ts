import { describe, expect, test } from "vitest";
import { CMDLETS, DOCUMENTED_ELSEWHERE, REFERENCE_NAMES } from "./script-rules/allow-list.ts";
import { commandsIn, parseScript, readScripts } from "./script-rules/parse.ts";
import { HAS_REFERENCE, readReferenceNames } from "./script-rules/reference-names.ts";
import { functionsOf, RULES } from "./script-rules/rules.ts";

const scripts = readScripts();
const functions = functionsOf(scripts);

test("every verb of the brief has its script", () => {
  expect(scripts.filter(({ name }) => name.endsWith(".ps1")).length).toBeGreaterThanOrEqual(30);
  expect(functions.size).toBeGreaterThan(40);
});

describe.each(Object.entries(RULES))("every script %s", (_, rule) => {
  test.each(scripts.map((script) => [script.name, script] as const))("%s", (_name, script) => {
    expect(rule(script, functions)).toEqual([]);
  });
});

/** For each rule something that breaks it, so that no rule can pass by looking at nothing. */
const BROKEN: Readonly<Record<keyof typeof RULES, string>> = {
  "parses without an error": "if ($true) {\n",
  "is plain ASCII with line ends of one kind": "$x = '\u2026'\n",
  "starts with its synopsis and names its source": "<#\n.SYNOPSIS\n    A.\n#>\n$x = 1\n",
  "sets strict mode and stops at errors before it does anything": "$x = 1\nSet-StrictMode -Version Latest\n",
  "takes typed parameters only": "function Get-X { param($Name)\n $Name }\n",
  "is named verb-noun and answers once, through Invoke-GcbVerb": "$x = 1\n",
  "writes to the output only through the protocol": "[Console]::Out.WriteLine('x')\n",
  "calls only allowed cmdlets and functions, none by alias, variable or text":
    "Invoke-Expression -Command $x\n",
  "gives cmdlets only parameters that both PowerShell versions have":
    "ConvertFrom-Json -InputObject $x -AsHashtable\n",
  "gives functions what they need and nothing they do not know":
    "Get-GcbProperty -InputObject $x -Nmae 'A'\n",
  "imports the modules whose functions it calls": "Get-GcbProperty -InputObject $x -Name 'Name'\n",
  "filters by the escaping helper or by a constant":
    "Get-CimInstance -ClassName Msvm_ComputerSystem -Filter \"Name='$id'\"\n",
  "names only WMI classes of the documentation": "Get-CimInstance -ClassName Msvm_Invented\n",
  "calls only WMI methods of the documentation, with their own parameters":
    "Invoke-CimMethod -InputObject $x -MethodName CreateSnapshot -Arguments @{ Colection = $y }\n",
  "reads only members of the documentation, of .NET, or of its own records": "$x = $vm.ElementNmae\n",
  "asks for properties by name only of the documentation":
    "Get-GcbProperty -InputObject $x -Name 'Invented'\n",
  "uses only allowed .NET types": "[System.Reflection.Assembly]::Load($x)\n",
  "reads no variable that nothing sets": "$processed = 1\n$x = $procesed\n",
  "keeps to what Windows PowerShell 5.1 understands": "$x = [System.Collections.ArrayList]::new()\n",
};

test.each(Object.entries(RULES))("a script that breaks it is caught: %s", (name, rule) => {
  expect(rule(parseScript("Get-Broken.ps1", BROKEN[name] ?? ""), functions)).not.toEqual([]);
});

test.each([
  "iex $x",
  "& $x",
  ". $path",
  "Get-WmiObject Win32_Volume",
  "gci",
  "powershell -Command $x",
  "% { $_ }",
  "[scriptblock]::Create($x)",
])("%s has no place in a script", (text) => {
  const script = parseScript("Get-Broken.ps1", `${text}\n`);
  expect(
    Object.values(RULES)
      .slice(5)
      .flatMap((rule) => rule(script, functions)),
  ).not.toEqual([]);
});

test("every name of the allow-lists is in use, so that the lists stay as short as they look", () => {
  const used = new Set(scripts.flatMap(({ root }) => commandsIn(root).map(({ name }) => name)));
  expect(Object.keys(CMDLETS).filter((name) => !used.has(name))).toEqual([]);
  const text = scripts.map((script) => script.text).join("\n");
  const extra = [
    DOCUMENTED_ELSEWHERE.classes,
    DOCUMENTED_ELSEWHERE.members,
    DOCUMENTED_ELSEWHERE.methods,
  ].flatMap(Object.keys);
  expect(extra.filter((name) => !text.includes(name))).toEqual([]);
});

test.skipIf(!HAS_REFERENCE)(
  "the allow-list is what the reference says today (skipped where the reference is absent)",
  async () => {
    expect(REFERENCE_NAMES).toEqual(await readReferenceNames());
  },
);
