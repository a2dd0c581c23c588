import { open } from "node:fs/promises";
import { checkWriterDisks } from "../../simulated-host/index.ts";
import { byteFileOf, openVhdx } from "../../vhdx/index.ts";

export interface WritersVerdict {
  readonly isConsistent: boolean;
  readonly summary: string;
}

/**
 * Reads the restored files and asks whether the writers' rules hold on them: every transaction whole and in order, over all
 * members and disks. Knows nothing of backups, so it would notice a consistency point that was none.
 */
export async function checkRestoredWriters(
  files: readonly { readonly path: string }[],
): Promise<WritersVerdict> {
  await using stack = new AsyncDisposableStack();
  const disks = [];
  for (const { path } of files)
    disks.push(await openVhdx(await byteFileOf(stack.use(await open(path, "r")))));
  const check = await checkWriterDisks(disks, { consistency: "application" });
  const summary = check.consistent
    ? `${String(check.lastTransaction)} transactions, ${String(check.checkedPages)} pages compared`
    : `${String(check.violationCount)} broken: ${check.violations.slice(0, 3).join("; ")}`;
  return { isConsistent: check.consistent && check.lastTransaction > 0, summary };
}
