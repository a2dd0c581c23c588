import type {
  Consistency,
  ConsistencyPoint,
  OperationInput,
  PointDisk,
  VmId,
} from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import type {
  CheckpointedDisk,
  RecoveryCheckpoint,
  StorageSnapshot,
  VirtualMachine,
} from "../hyperv-host.ts";
import type { RunDisk } from "../journal/run-facts.ts";
import { askForEffect } from "./host-effect.ts";
import type { Handler, OperationContext } from "./operation.ts";
import { insistOnRemoval, removeRunEffects } from "./run-effects.ts";

/** After a crash a storage snapshot that was asked for may still appear for this long. */
const STORAGE_SNAPSHOT_MAY_TAKE_MS = 60_000;

/**
 * Freezes all members together, checkpoints them and takes ONE storage snapshot. Whatever this run left from before a crash is
 * removed first, so that a second start takes a new point; on any failure nothing stays.
 */
export const consistencyPoint: Handler<"consistency-point"> = async (input, context) => {
  const { facts, log, runId } = context;
  refuseBusyMembers(input.members, context);
  const isRepeated = facts.has("membersTouched");
  facts.note("membersTouched", { members: input.members });
  if (isRepeated) {
    const before = await removeRunEffects(context, input.members, { referencePoints: true });
    insistOnRemoval(runId, before);
    log("info", "remains of the interrupted consistency point were removed", {
      runId,
      count: before.removed.length,
    });
  }
  try {
    return await takePoint(input, context);
  } catch (error) {
    const after = await removeRunEffects(context, input.members, { referencePoints: false });
    if (after.failures.length > 0)
      log("error", "the failed consistency point left something behind", { runId });
    throw error;
  }
};

function refuseBusyMembers(members: readonly VmId[], context: OperationContext): void {
  for (const run of context.otherRuns()) {
    const member = members.find((each) => run.members.some((other) => other === each));
    if (member === undefined) continue;
    throw new BackupError(
      "AGENT_MEMBERS_BUSY",
      `run ${run.runId} works on member ${member}; wait until it has ended`,
      { retry: "never", facts: { runId: run.runId, vmId: member } },
    );
  }
}

async function takePoint(
  input: OperationInput<"consistency-point">,
  context: OperationContext,
): Promise<ConsistencyPoint> {
  const { host, facts, signal, runId, clusterId } = context;
  const machines = await host.getVirtualMachines(input.members);
  const collectionId = await host.ensureCollection(`gcb-${clusterId}`, input.members);
  signal.throwIfAborted();

  const checkpoint = await createCheckpoint(collectionId, input, context);
  const chosen = checkpoint.disks.filter(({ shared }) => shared || input.includePrivateDisks);
  signal.throwIfAborted();

  const paths = chosen.flatMap(({ path, staticPath }) => [path, staticPath]);
  const snapshot = await askForEffect(context, "storageSnapshotCreation", STORAGE_SNAPSHOT_MAY_TAKE_MS, () =>
    host.createStorageSnapshot({ tag: runId, paths }),
  );
  const { storageSnapshotId, volumes } = snapshot;
  facts.note("storageSnapshot", { storageSnapshotId, volumes: [...volumes] });
  signal.throwIfAborted();

  const disks = await describeDisks(chosen, snapshot, context);
  const point: ConsistencyPoint = {
    consistency: checkpoint.members.every(({ consistency }) => consistency === "application")
      ? "application"
      : "crash",
    members: input.members.map((vmId) => describeMember(vmId, machines, checkpoint)),
    disks: disks.map(({ point }) => point),
    storageSnapshots: await countStorageSnapshots(context),
  };
  facts.note("point", { point, disks: disks.map(({ run }) => run) });
  return point;
}

/** Application-consistent; crash-consistent in its place only when the policy says so, and never silently. */
async function createCheckpoint(
  collectionId: string,
  input: OperationInput<"consistency-point">,
  context: OperationContext,
): Promise<RecoveryCheckpoint> {
  const { host, facts, signal, log, runId } = context;
  const create = async (consistency: Consistency) => {
    const deadlineMs = input.frozenDeadlineMs;
    // The freeze ends at the deadline; making the differencing files comes on top.
    const checkpoint = await askForEffect(context, "checkpointCreation", 2 * deadlineMs, () =>
      host.createRecoveryCheckpoint({ collectionId, tag: runId, consistency, deadlineMs }),
    );
    facts.note("checkpoint", { snapshotCollectionId: checkpoint.snapshotCollectionId });
    return checkpoint;
  };
  try {
    return await create("application");
  } catch (error) {
    const isQuiesceFailure =
      error instanceof BackupError && (error.code === "QUIESCE_FAILED" || error.code === "QUIESCE_TIMED_OUT");
    if (!isQuiesceFailure || input.consistency === "application") throw error;
    signal.throwIfAborted();
    log("warn", "members could not be quiesced; a crash-consistent point is taken, as the policy allows", {
      runId,
      code: error.code,
      why: error.message,
    });
    insistOnRemoval(runId, await removeRunEffects(context, input.members, { referencePoints: false }));
    return await create("crash");
  }
}

/** How many storage snapshots the host really has for this run: the figure in the manifest is counted, not assumed. */
async function countStorageSnapshots({ host, runId }: OperationContext): Promise<number> {
  return (await host.findStorageSnapshots()).filter(({ tag }) => tag === runId).length;
}

/** Opens every disk in the storage snapshot: its sizes come from its own file, and a point that cannot be read fails here. */
async function describeDisks(
  chosen: readonly CheckpointedDisk[],
  { volumes }: StorageSnapshot,
  { staticDisks }: OperationContext,
): Promise<{ readonly point: PointDisk; readonly run: RunDisk }[]> {
  const described = [];
  for (const { diskId, path, staticPath, shared, attachedTo } of chosen) {
    await using opened = await staticDisks.open(staticPath, volumes);
    const { sizeBytes, logicalSectorBytes, physicalSectorBytes, blockBytes } = opened.disk;
    if (opened.disk.diskId !== diskId) {
      throw new BackupError(
        "STATIC_DISK_INVALID",
        `${staticPath} holds disk ${opened.disk.diskId}, not ${diskId} as the checkpoint says; nothing was read from it`,
        { facts: { staticPath, diskId, found: opened.disk.diskId } },
      );
    }
    described.push({
      point: {
        ...{ diskId, label: labelOf(path), shared, attachedTo: [...attachedTo], virtualSizeBytes: sizeBytes },
        ...{ logicalSectorBytes, physicalSectorBytes, blockBytes },
      },
      run: { diskId, shared, path, staticPath, virtualSizeBytes: sizeBytes },
    });
  }
  return described;
}

/** File base name, of a Windows path or another. */
function labelOf(path: string): string {
  return path.split(/[\\/]/).at(-1) ?? path;
}

function describeMember(
  vmId: VmId,
  machines: readonly VirtualMachine[],
  checkpoint: RecoveryCheckpoint,
): ConsistencyPoint["members"][number] {
  const machine = machines.find((each) => each.vmId === vmId);
  const member = checkpoint.members.find((each) => each.vmId === vmId);
  if (machine === undefined || member === undefined) {
    throw new BackupError(
      "HYPERV_ANSWER_INVALID",
      `VM ${vmId} is missing from the recovery checkpoint ${checkpoint.snapshotCollectionId}; the point is not used`,
      { facts: { vmId } },
    );
  }
  const { consistency, frozenAt, thawedAt, frozenMs } = member;
  return {
    ...{
      vmId,
      name: machine.name,
      configurationVersion: machine.configurationVersion,
      consistency,
      frozenMs,
    },
    frozenAt: frozenAt.toISOString(),
    thawedAt: thawedAt.toISOString(),
  };
}
