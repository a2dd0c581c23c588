import type { ChangeSource, ReferencePoint } from "../contracts/index.ts";

export interface ChangeSourceFacts {
  readonly requested: "incremental" | "full" | "compare";
  readonly virtualSizeBytes: number;
  /** What the last manifest says of the disk; undefined when it has none of it. */
  readonly previous:
    { readonly virtualSizeBytes: number; readonly referencePoint: ReferencePoint | null } | undefined;
  /** Reference points of this disk that the host still has. */
  readonly onHost: readonly ReferencePoint[];
}

/**
 * How the changes of one disk are found. RCT only when nothing speaks against it: the map may be too wide, never too narrow.
 */
export function chooseChangeSource(facts: ChangeSourceFacts): ChangeSource {
  const { requested, previous, virtualSizeBytes, onHost } = facts;
  if (previous === undefined) return { kind: "full", reason: "first-backup" };
  if (requested === "full") return { kind: "full", reason: "requested" };
  if (requested === "compare") return { kind: "compare", reason: "requested" };
  if (previous.virtualSizeBytes !== virtualSizeBytes) return { kind: "compare", reason: "disk-resized" };
  const { referencePoint } = previous;
  const isThere =
    referencePoint !== null &&
    onHost.some(({ id, rctId }) => id === referencePoint.id && rctId === referencePoint.rctId);
  if (!isThere) return { kind: "compare", reason: "reference-point-lost" };
  return { kind: "rct", since: referencePoint.id };
}
