import { changeRanges } from "./change-ranges.ts";
import { cleanUp } from "./clean-up.ts";
import { consistencyPoint } from "./consistency-point.ts";
import type { Handlers } from "./operation.ts";
import { preflight } from "./preflight.ts";
import { createRestore } from "./restore.ts";
import { ship } from "./ship.ts";
import { undo } from "./undo.ts";
import { updateReferences } from "./update-references.ts";

/** Every operation kind with what carries it out. */
export function operationHandlers(options: { readonly restoreRoots: readonly string[] }): Handlers {
  return {
    preflight,
    "consistency-point": consistencyPoint,
    "update-references": updateReferences,
    "change-ranges": changeRanges,
    ship,
    "clean-up": cleanUp,
    undo,
    restore: createRestore(options.restoreRoots),
  };
}
