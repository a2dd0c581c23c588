import { restoreDisks } from "../../restore/index.ts";
import type { Handler } from "./operation.ts";

/** Restores disks to files on this host. After a cut, disks that have their names are proved again, the others written anew. */
export function createRestore(roots: readonly string[]): Handler<"restore"> {
  return async ({ manifest, targetDirectory, diskIds }, context) => {
    const { facts, signal, reportProgress } = context;
    const source = await context.repository.openForRestore(context.repositoryUrl);
    const isResumed = facts.has("restoreBegun");
    const disks = await restoreDisks({
      ...{ source, manifest, roots, targetDirectory, diskIds, isResumed, signal },
      onProgress: reportProgress,
      onPlanned: (folder, fileNames) => {
        facts.note("restoreBegun", { targetDirectory: folder, fileNames: [...fileNames] });
      },
    });
    return { disks };
  };
}
