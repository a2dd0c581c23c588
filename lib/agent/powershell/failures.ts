import { BackupError, type BackupErrorCode, type Retry } from "../../errors/index.ts";
import type { ScriptError } from "./answer.ts";

/** What was being done: the same return value means different things in a freeze and in a question. */
export type Activity =
  "query" | "collection" | "checkpoint" | "reference" | "changes" | "storage" | "restore";

/** VHD change tracking errors as they stand in job texts and return values (hyperv.md §3, RCT loss; §6). */
const LOST = ["C03A0029", "C03A0030"] as const;
const DISABLED = "C03A002A";

/** Causes of a refused collection checkpoint that Microsoft names (hyperv.md §6). */
const CHECKPOINT_CAUSES: Readonly<Record<number, string>> = {
  32768:
    "The cluster service inside a guest could not be queried: check that it runs and that the VSS component answers.",
  32770:
    "A shared disk is a Cluster Shared Volume inside the guest: remove it from Cluster Shared Volumes there.",
  32775: "A shared disk has no owner or several: bring it online on exactly one node of the guest cluster.",
};

/** The error of the port for what a script reported: the same codes as every other implementation of the port. */
export function toHostError(error: ScriptError, activity: Activity, script: string): BackupError {
  const { code, retry } = decide(error, activity);
  const cause = activity === "checkpoint" ? causeOf(error) : undefined;
  const remedy = cause ?? (error.remedy === "" ? "Look at the agent's log." : error.remedy);
  const details = error.jobErrorText === "" ? "" : ` Hyper-V says: ${error.jobErrorText.slice(0, 1_000)}.`;
  return new BackupError(code, `${error.message}${details} ${remedy}`, {
    retry,
    facts: {
      script,
      hostCode: error.code,
      subject: error.subject,
      wmiReturnValue: error.wmiReturnValue,
      jobErrorCode: error.jobErrorCode,
      remedy: error.remedy,
    },
  });
}

function decide(
  error: ScriptError,
  activity: Activity,
): { readonly code: BackupErrorCode; readonly retry: Retry } {
  if (activity === "changes" || activity === "reference") {
    const lost = trackingLoss(error);
    if (lost !== undefined) return { code: lost, retry: "never" };
  }
  switch (error.code) {
    case "HV_ACCESS_DENIED":
      return { code: "HYPERV_ACCESS_DENIED", retry: "after-operator" };
    case "HV_MERGE_UNFINISHED":
      return { code: "MERGE_UNFINISHED", retry: "later" };
    case "HV_REFERENCE_POINT_LOST":
      return { code: "REFERENCE_POINT_LOST", retry: "never" };
    case "HV_UNDO_FAILED":
      return {
        code: activity === "storage" ? "STORAGE_SNAPSHOT_FAILED" : "HYPERV_CALL_FAILED",
        retry: "later",
      };
    case "HV_JOB_TIMED_OUT":
      return {
        code: activity === "checkpoint" ? "QUIESCE_TIMED_OUT" : generalCode(activity),
        retry: "later",
      };
    case "HV_NOT_FOUND":
      return activity === "checkpoint"
        ? { code: "QUIESCE_FAILED", retry: "later" }
        : { code: activity === "collection" ? "COLLECTION_FAILED" : "HYPERV_OBJECT_MISSING", retry: "later" };
    default:
      return { code: generalCode(activity), retry: "later" };
  }
}

function generalCode(activity: Activity): BackupErrorCode {
  switch (activity) {
    case "checkpoint":
      return "QUIESCE_FAILED";
    case "collection":
      return "COLLECTION_FAILED";
    case "storage":
      return "STORAGE_SNAPSHOT_FAILED";
    case "query":
    case "reference":
    case "changes":
    case "restore":
      return "HYPERV_CALL_FAILED";
  }
}

/** Whether the failure says that change tracking is gone, in whatever form the number came. */
export function trackingLoss(error: ScriptError): "REFERENCE_POINT_LOST" | "TRACKING_DISABLED" | undefined {
  const text = [
    error.message,
    error.jobErrorText,
    error.subject,
    (error.wmiReturnValue >>> 0).toString(16),
    (error.jobErrorCode >>> 0).toString(16),
  ]
    .join(" ")
    .toUpperCase();
  if (text.includes(DISABLED)) return "TRACKING_DISABLED";
  if (LOST.some((each) => text.includes(each))) return "REFERENCE_POINT_LOST";
  return undefined;
}

function causeOf(error: ScriptError): string | undefined {
  return CHECKPOINT_CAUSES[error.jobErrorCode] ?? CHECKPOINT_CAUSES[error.wmiReturnValue];
}
