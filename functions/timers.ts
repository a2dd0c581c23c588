import { app, type InvocationContext, type Timer } from "@azure/functions";
import * as df from "durable-functions";
import { toErrorDocument } from "../lib/errors/index.ts";
import { isDue } from "../lib/orchestration/index.ts";
import { startBackup } from "./http/start-backup.ts";
import { appPorts } from "./ports/app-ports.ts";

/**
 * Once a minute: starts the backup of each guest cluster whose schedule fell due since the last look, also when the app was
 * down in between. A cluster that is still busy is left alone, and one that cannot start does not keep the others from it.
 */
app.timer("startDueBackups", {
  schedule: "0 * * * * *",
  retry: { strategy: "fixedDelay", maxRetryCount: 5, delayInterval: { seconds: 10 } },
  extraInputs: [df.input.durableClient()],
  handler: async (timer: Timer, context: InvocationContext) => {
    const now = new Date();
    const last = new Date(timer.scheduleStatus.last);
    const after =
      Number.isNaN(last.getTime()) || last.getTime() <= 0 ? new Date(now.getTime() - 60_000) : last;
    const client = df.getClient(context);
    const failed: string[] = [];
    for (const cluster of appPorts().guestClusters) {
      try {
        if (!isDue(cluster, after, now)) continue;
        const request = { clusterId: cluster.id, requested: "incremental", trigger: "schedule" } as const;
        const { runId } = await startBackup(client, request);
        context.log(`guest cluster ${cluster.id}: scheduled run ${runId} started`);
      } catch (error) {
        const { code, message } = toErrorDocument(error);
        if (code === "GUEST_CLUSTER_BUSY") {
          context.warn(`scheduled start skipped: ${message}`);
        } else {
          context.error(`guest cluster ${cluster.id}: scheduled start failed: ${code}: ${message}`);
          failed.push(cluster.id);
        }
      }
    }
    // The runtime tries again: those that were started are busy by then, so only the failed ones start.
    if (failed.length > 0) throw new Error(`no backup could be started for: ${failed.join(", ")}`);
  },
});
