import { randomUUID } from "node:crypto";
import { app, type HttpRequest, type HttpResponseInit, type InvocationContext } from "@azure/functions";
import * as df from "durable-functions";
import * as z from "zod";
import {
  backupInstanceId,
  BackupRequest,
  DiskId,
  GuestClusterId,
  makeRunId,
  ORCHESTRATORS,
  restoreInstanceId,
  RestoreRequest,
  RunId,
  type GuestCluster,
} from "../lib/contracts/index.ts";
import { BackupError } from "../lib/errors/index.ts";
import { findGuestCluster } from "./activities/plan-backup.ts";
import { appPorts } from "./ports/app-ports.ts";
import { json, parseBody, parseParameter, withProblems } from "./http/answers.ts";
import { startBackup } from "./http/start-backup.ts";

/*
 * The HTTP API. Long work answers 202 with the run and the Durable status URLs; every error is a problem document (RFC 9457)
 * with a stable code.
 */

const StartBackup = z.strictObject({ requested: BackupRequest.shape.requested.default("incremental") });
const StartRestore = z.strictObject({
  restorePoint: z.string().min(1).max(300),
  targetDirectory: z.string().min(1).max(1_000),
  diskIds: z.array(DiskId).min(1).optional(),
});

type Handler = (request: HttpRequest, context: InvocationContext) => Promise<HttpResponseInit>;

function route(
  name: string,
  method: "GET" | "POST",
  path: string,
  handler: Handler,
  authLevel: "function" | "anonymous" = "function",
) {
  const extraInputs = [df.input.durableClient()];
  app.http(name, { methods: [method], route: path, authLevel, extraInputs, handler: withProblems(handler) });
}

route("startBackup", "POST", "guest-clusters/{clusterId}/backups", async (request, context) => {
  const cluster = clusterOf(request);
  const { requested } = await parseBody(request, StartBackup);
  const client = df.getClient(context);
  const started = await startBackup(client, { clusterId: cluster.id, requested, trigger: "request" });
  return accepted(request, client, started.runId, backupInstanceId(cluster.id));
});

route("startRestore", "POST", "guest-clusters/{clusterId}/restores", async (request, context) => {
  const cluster = clusterOf(request);
  const { restorePoint, targetDirectory, diskIds } = await parseBody(request, StartRestore);
  const repository = await appPorts().repository();
  const manifests = await repository.listManifests(cluster.id);
  if (!manifests.some(({ name }) => name === restorePoint))
    throw unknownRestorePoint(cluster.id, restorePoint);
  const runId = makeRunId(new Date(), randomUUID());
  const client = df.getClient(context);
  const input = RestoreRequest.parse({
    clusterId: cluster.id,
    runId,
    agentId: cluster.agentId,
    manifest: restorePoint,
    targetDirectory,
    diskIds,
  });
  const instanceId = restoreInstanceId(runId);
  await client.startNew(ORCHESTRATORS.restoreGuestCluster, { instanceId, input });
  return accepted(request, client, runId, instanceId);
});

route("listGuestClusters", "GET", "guest-clusters", () => {
  return Promise.resolve(json(200, { guestClusters: appPorts().guestClusters }));
});

route("listRestorePoints", "GET", "guest-clusters/{clusterId}/restore-points", async (request) => {
  const cluster = clusterOf(request);
  const repository = await appPorts().repository();
  const names = await repository.listManifests(cluster.id);
  return json(200, { restorePoints: names.map(({ name }) => name) });
});

route("getRun", "GET", "runs/{runId}", async (request) => {
  const runId = parseParameter(request, "runId", RunId);
  const repository = await appPorts().repository();
  const record = await repository.readRunRecord(runId);
  if (record === undefined) {
    const message = `run ${runId} is not recorded; it may have been started a moment ago: ask again, or check the id`;
    throw new BackupError("RUN_UNKNOWN", message, { facts: { runId } });
  }
  return json(200, record);
});

route("getHealth", "GET", "health", () => Promise.resolve(json(200, { status: "running" })), "anonymous");

function clusterOf(request: HttpRequest): GuestCluster {
  return findGuestCluster(appPorts().guestClusters, parseParameter(request, "clusterId", GuestClusterId));
}

function accepted(
  request: HttpRequest,
  client: df.DurableClient,
  runId: RunId,
  instanceId: string,
): HttpResponseInit {
  const { statusQueryGetUri, terminatePostUri } = client.createHttpManagementPayload(instanceId);
  const run = new URL(`/api/runs/${runId}`, request.url).toString();
  return {
    ...json(202, { runId, instanceId, run, statusQueryGetUri, terminatePostUri }),
    headers: {
      "content-type": "application/json",
      location: typeof statusQueryGetUri === "string" ? statusQueryGetUri : run,
      "retry-after": "5",
    },
  };
}

function unknownRestorePoint(clusterId: string, restorePoint: string): BackupError {
  return new BackupError(
    "RESTORE_POINT_UNKNOWN",
    `guest cluster ${clusterId} has no restore point "${restorePoint}"; GET /api/guest-clusters/${clusterId}/restore-points lists them`,
    { facts: { clusterId, restorePoint } },
  );
}
