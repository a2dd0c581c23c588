import * as df from "durable-functions";
import {
  claimGuestCluster,
  commitRestorePoint,
  driveAgentOperation,
  ORCHESTRATORS,
  planBackup,
  recordRun,
  releaseGuestCluster,
} from "../lib/contracts/index.ts";
import { BackupError } from "../lib/errors/index.ts";
import { registerActivity } from "./activities/activity.ts";
import { createClaimGuestCluster, createReleaseGuestCluster } from "./activities/claim-guest-cluster.ts";
import { createCommitRestorePoint } from "./activities/commit-restore-point.ts";
import { createDriveAgentOperation } from "./activities/drive-agent-operation.ts";
import { createPlanBackup } from "./activities/plan-backup.ts";
import { createRecordRun } from "./activities/record-run.ts";
import { backUpGuestCluster } from "./orchestrators/back-up-guest-cluster.ts";
import { driveOperation } from "./orchestrators/drive-operation.ts";
import { restoreGuestCluster } from "./orchestrators/restore-guest-cluster.ts";
import { appPorts } from "./ports/app-ports.ts";

/** Orchestrators and activities of the app. Ports are opened at the first call, so that registration needs no settings. */

df.app.setExceptionPropertiesProvider({
  getExceptionProperties: (error) =>
    error instanceof BackupError ? { code: error.code, retry: error.retry, ...error.facts } : undefined,
});

df.app.orchestration(ORCHESTRATORS.backUpGuestCluster, backUpGuestCluster);
df.app.orchestration(ORCHESTRATORS.restoreGuestCluster, restoreGuestCluster);
df.app.orchestration(ORCHESTRATORS.driveOperation, driveOperation);

registerActivity(claimGuestCluster, (input) => createClaimGuestCluster(appPorts())(input));
registerActivity(releaseGuestCluster, (input) => createReleaseGuestCluster(appPorts())(input));
registerActivity(planBackup, (input) => createPlanBackup(appPorts())(input));
registerActivity(driveAgentOperation, (input) => createDriveAgentOperation(appPorts())(input));
registerActivity(commitRestorePoint, (input) => createCommitRestorePoint(appPorts())(input));
registerActivity(recordRun, (input) => createRecordRun(appPorts())(input));
