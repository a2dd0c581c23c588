import { randomUUID } from "node:crypto";
import type { DurableClient } from "durable-functions";
import * as df from "durable-functions";
import * as z from "zod";
import {
  backupInstanceId,
  BackupRequest,
  makeRunId,
  ORCHESTRATORS,
  type RunId,
} from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";

/**
 * Starts a backup of one guest cluster. The instance id is derived from the cluster, so the Durable runtime itself lets one of
 * two simultaneous starts win; the other is told which run is active.
 *
 * @throws BackupError GUEST_CLUSTER_BUSY
 */
export async function startBackup(
  client: DurableClient,
  request: Omit<BackupRequest, "runId">,
): Promise<{ readonly runId: RunId }> {
  const instanceId = backupInstanceId(request.clusterId);
  const active = await activeRun(client, instanceId);
  if (active !== undefined) throw busy(request.clusterId, active);
  const runId = makeRunId(new Date(), randomUUID());
  const input = BackupRequest.parse({ ...request, runId });
  try {
    await client.startNew(ORCHESTRATORS.backUpGuestCluster, { instanceId, input });
  } catch (error) {
    const winner = await activeRun(client, instanceId);
    if (winner === undefined || winner === runId) throw error;
    throw busy(request.clusterId, winner, error);
  }
  // Whoever keeps the instances decides; if it took another start of the same moment, that one is the run.
  const accepted = await activeRun(client, instanceId);
  if (accepted !== undefined && accepted !== runId) throw busy(request.clusterId, accepted);
  return { runId };
}

const ACTIVE: ReadonlySet<df.OrchestrationRuntimeStatus> = new Set([
  df.OrchestrationRuntimeStatus.Running,
  df.OrchestrationRuntimeStatus.Pending,
  df.OrchestrationRuntimeStatus.ContinuedAsNew,
  df.OrchestrationRuntimeStatus.Suspended,
]);

/** The run that the instance is carrying out now; undefined when there is none (getStatus throws for an unknown instance). */
async function activeRun(client: DurableClient, instanceId: string): Promise<string | undefined> {
  let status: df.DurableOrchestrationStatus;
  try {
    status = await client.getStatus(instanceId, { showInput: true });
  } catch {
    return undefined;
  }
  if (!ACTIVE.has(status.runtimeStatus)) return undefined;
  return z.object({ runId: z.string() }).safeParse(status.input).data?.runId ?? "unknown";
}

function busy(clusterId: string, activeRunId: string, cause?: unknown): BackupError {
  return new BackupError(
    "GUEST_CLUSTER_BUSY",
    `guest cluster ${clusterId} is being backed up by run ${activeRunId}; wait for its end (GET /api/runs/${activeRunId})`,
    { retry: "later", facts: { clusterId, activeRunId }, ...(cause === undefined ? {} : { cause }) },
  );
}
