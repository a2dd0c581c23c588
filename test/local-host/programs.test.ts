import fc from "fast-check";
import { expect, test } from "vitest";
import { startHost } from "../../lib/local-host/index.ts";
import { appDirectory, HostClient, temporaryDirectory } from "./harness.ts";

/** One task of a random program; `apps/programs` interprets it, `meaning` says what must come out. */
type Node =
  | { readonly kind: "give" | "flaky"; readonly value: number; readonly ms: number; readonly times: number }
  | { readonly kind: "flakySub" | "entity" | "signal"; readonly value: number }
  | { readonly kind: "failing"; readonly tries: number }
  | { readonly kind: "timer"; readonly ms: number }
  | { readonly kind: "sub"; readonly program: readonly Node[] }
  | { readonly kind: "all" | "any"; readonly parts: readonly Node[] };

const small = fc.integer({ min: 0, max: 9 });
const { program } = fc.letrec<{ node: Node; leaf: Node; program: readonly Node[] }>((tie) => ({
  leaf: fc.oneof(
    fc.record({
      kind: fc.constantFrom("give" as const, "flaky" as const),
      value: small,
      ms: fc.integer({ min: 0, max: 6 }),
      times: fc.integer({ min: 0, max: 2 }),
    }),
    fc.record({ kind: fc.constantFrom("flakySub" as const, "entity" as const), value: small }),
    fc.record({ kind: fc.constant("failing" as const), tries: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constant("timer" as const), ms: fc.integer({ min: 0, max: 20 }) }),
  ),
  node: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    tie("leaf"),
    fc.record({
      kind: fc.constant("all" as const),
      parts: fc.array(tie("node"), { minLength: 1, maxLength: 4 }),
    }),
    fc.record({
      kind: fc.constant("any" as const),
      parts: fc.array(tie("leaf"), { minLength: 1, maxLength: 3 }),
    }),
    fc.record({ kind: fc.constant("sub" as const), program: tie("program") }),
  ),
  program: fc.array(
    fc.oneof(
      { weight: 5, arbitrary: tie("node") },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("signal" as const), value: small }) },
    ),
    { maxLength: 4 },
  ),
}));

/** @returns the task's value, or undefined when it fails */
function meaning(node: Node): number | undefined {
  switch (node.kind) {
    case "give":
    case "flaky":
    case "flakySub":
    case "entity":
      return node.value;
    case "failing":
      return undefined;
    case "timer":
    case "any":
    case "signal":
      return 0;
    case "sub":
      return total(node.program);
    case "all": {
      const parts = node.parts.map(meaning);
      return parts.every((part) => part !== undefined)
        ? parts.reduce((sum, part) => sum + part, 0)
        : undefined;
    }
  }
}

function total(steps: readonly Node[]): number {
  return steps.reduce((sum, step) => sum + (meaning(step) ?? 1000), 0);
}

// Every episode also compares the task ids of host and SDK; a difference would fail the instance.
test("random programs of nested tasks, retries, sub-orchestrations and entities give what they mean, over restarts", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(program, { minLength: 6, maxLength: 12 }),
      fc.integer({ min: 0, max: 40 }),
      async (programs, ms) => {
        await using data = await temporaryDirectory();
        const options = { appDirectory: appDirectory("programs"), dataDirectory: data.path, graceMs: 5 };
        const first = await startHost(options);
        const starts = programs.map((steps, index) =>
          HostClient.of(first).manage(`orchestrators/program/p${index}`, {
            method: "POST",
            body: JSON.stringify(steps),
          }),
        );
        await Promise.all(starts);
        await new Promise((resolve) => setTimeout(resolve, ms));
        await first.close();
        await using second = await startHost(options);
        for (const [index, steps] of programs.entries()) {
          const { runtimeStatus, output } = await HostClient.of(second).until(`p${index}`);
          expect([runtimeStatus, output]).toEqual(["Completed", total(steps)]);
        }
      },
    ),
    { numRuns: 15 },
  );
});
