import type {
  BackupRequest,
  ConsistencyPoint,
  DiskId,
  OperationResult,
  RestorePointDraft,
} from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";

/** What the steps of one run gave, in their order. */
export interface StepResults {
  readonly point: ConsistencyPoint;
  readonly references: OperationResult<"update-references">;
  readonly changes: OperationResult<"change-ranges">;
  readonly shipped: OperationResult<"ship">;
}

/**
 * Puts the restore point together. Every disk of the consistency point must have a reference point, a change source and a map
 * root, and no step may speak of another disk: a restore point with a hole must never be committed.
 *
 * @throws BackupError STEP_RESULTS_DISAGREE
 */
export function draftRestorePoint(
  request: Pick<BackupRequest, "clusterId" | "runId">,
  results: StepResults,
  predecessor: string | null,
  createdAt: Date,
): RestorePointDraft {
  const { point, references, changes, shipped } = results;
  assertDistinct(point.disks);
  for (const [step, disks] of [
    ["update-references", references.disks],
    ["change-ranges", changes.disks],
    ["ship", shipped.disks],
  ] as const) {
    assertSameDisks(point.disks, disks, step);
  }
  return {
    clusterId: request.clusterId,
    runId: request.runId,
    predecessor,
    createdAt: createdAt.toISOString(),
    point,
    disks: point.disks.map(({ diskId }) => ({
      diskId,
      referencePoint: find(references.disks, diskId).referencePoint,
      source: find(changes.disks, diskId).source,
      mapRoot: find(shipped.disks, diskId).mapRoot,
      sizes: find(shipped.disks, diskId).sizes,
    })),
  };
}

interface WithDisk {
  readonly diskId: DiskId;
}

function assertSameDisks(expected: readonly WithDisk[], given: readonly WithDisk[], step: string): void {
  const want = expected.map(({ diskId }) => diskId).sort();
  const have = given.map(({ diskId }) => diskId).sort();
  if (want.length === have.length && want.every((diskId, index) => diskId === have[index])) return;
  throw new BackupError(
    "STEP_RESULTS_DISAGREE",
    `step ${step} speaks of the disks ${have.join(", ") || "(none)"}, the consistency point has ${want.join(", ")}; ` +
      "the run is taken back, nothing was committed",
    { facts: { step } },
  );
}

/** Two disks with one Virtual Disk ID (a copied template) could not be told apart in any step or in the restore point. */
function assertDistinct(disks: readonly (WithDisk & { readonly label: string })[]): void {
  const seen = new Map<DiskId, string>();
  for (const { diskId, label } of disks) {
    const other = seen.get(diskId);
    if (other !== undefined) {
      throw new BackupError(
        "STEP_RESULTS_DISAGREE",
        `${other} and ${label} have the same Virtual Disk ID ${diskId}; give one of them a new one with Set-VHD -ResetDiskIdentifier`,
        { retry: "after-operator", facts: { diskId } },
      );
    }
    seen.set(diskId, label);
  }
}

function find<T extends WithDisk>(list: readonly T[], diskId: DiskId): T {
  const found = list.find((each) => each.diskId === diskId);
  if (found === undefined)
    throw new BackupError("STEP_RESULTS_DISAGREE", `disk ${diskId} is missing from a step`);
  return found;
}
