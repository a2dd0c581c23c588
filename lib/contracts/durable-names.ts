/**
 * Names of durable functions. They live for ever in run history, so each is declared here once and never re-used.
 */
export const ORCHESTRATORS = {
  backUpGuestCluster: "backUpGuestCluster",
  restoreGuestCluster: "restoreGuestCluster",
  driveOperation: "driveOperation",
} as const;

/** The one backup instance of a guest cluster: the id makes a second one impossible while the first runs. */
export function backupInstanceId(clusterId: string): string {
  return `backup-${clusterId}`;
}

export function restoreInstanceId(runId: string): string {
  return `restore-${runId}`;
}
