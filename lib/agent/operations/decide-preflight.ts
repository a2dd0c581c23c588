import type { ConsistencyPolicy, PreflightFinding, RunId, VmId } from "../../contracts/index.ts";
import type { ErrorDocument } from "../../errors/index.ts";
import type {
  AttachedDisk,
  GuestClusterInformation,
  HostReadiness,
  RecoveryCheckpoint,
  StorageSnapshot,
  VirtualMachine,
} from "../hyperv-host.ts";

/** An answer of the host, or why it gave none: one unanswered question must not hide what the others show. */
export type Answer<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: ErrorDocument };

/** What the host says before a run, and what the agent's journal knows. */
export interface PreflightFacts {
  readonly runId: RunId;
  readonly members: readonly VmId[];
  readonly consistency: ConsistencyPolicy;
  readonly machines: Answer<readonly VirtualMachine[]>;
  readonly guestCluster: Answer<readonly GuestClusterInformation[]>;
  readonly readiness: Answer<HostReadiness>;
  readonly recoveryCheckpoints: Answer<readonly RecoveryCheckpoint[]>;
  readonly storageSnapshots: Answer<readonly StorageSnapshot[]>;
  readonly otherRuns: readonly { readonly runId: RunId; readonly members: readonly string[] }[];
}

/** VMs can be grouped, and so checkpointed together, from this configuration version on (hyperv.md §3.1). */
const LOWEST_CONFIGURATION_VERSION = 6.2;
/** The lowest version that Windows Server 2022 and later still run. */
const CURRENT_CONFIGURATION_VERSION = 8;
/**
 * The differencing files and the storage snapshot grow by what the members write during the run. Below the first share of the
 * used bytes a run is refused, below the second it warns. Experience values: Microsoft names none.
 */
const REFUSE_FREE_SHARE = 0.01;
const WARN_FREE_SHARE = 0.1;

/** Every known cause that would make the run fail, each with what to do; empty when the run may begin. */
export function decidePreflight(facts: PreflightFacts): PreflightFinding[] {
  return [
    ...unanswered(facts),
    ...otherRunFindings(facts),
    ...(facts.machines.ok ? machineFindings(facts, facts.machines.value) : []),
    ...(facts.machines.ok ? diskIdFindings(facts.machines.value) : []),
    ...(facts.guestCluster.ok ? guestClusterFindings(facts, facts.guestCluster.value) : []),
    ...(facts.readiness.ok ? readinessFindings(facts.readiness.value) : []),
    ...leftoverFindings(facts),
  ];
}

const QUESTIONS = {
  machines: "the virtual machines",
  guestCluster: "the guest cluster's state",
  readiness: "the host's readiness",
  recoveryCheckpoints: "recovery checkpoints",
  storageSnapshots: "storage snapshots",
} as const;

function unanswered(facts: PreflightFacts): PreflightFinding[] {
  return Object.entries(QUESTIONS).flatMap(([question, what]) => {
    const answer = facts[question as keyof typeof QUESTIONS];
    if (answer.ok) return [];
    const message = `the host could not say anything about ${what}: ${answer.error.code}: ${answer.error.message}`;
    return [refuse("HOST_QUESTION_FAILED", "host", message, "cure the error that the host reports")];
  });
}

function otherRunFindings({ otherRuns, members }: PreflightFacts): PreflightFinding[] {
  return otherRuns
    .filter((run) => run.members.some((member) => members.some((each) => each === member)))
    .map(({ runId }) =>
      refuse(
        "RUN_ACTIVE",
        runId,
        `run ${runId} of this agent works on one of the members`,
        "wait until it has ended; without calls of its control plane the agent undoes it by itself",
      ),
    );
}

function machineFindings(facts: PreflightFacts, machines: readonly VirtualMachine[]): PreflightFinding[] {
  return facts.members.flatMap((member) => {
    const machine = machines.find(({ vmId }) => vmId === member);
    if (machine === undefined) {
      return [
        refuse(
          "MEMBER_MISSING",
          member,
          `the host knows no VM ${member}`,
          "correct the guest cluster's members, or use the agent of the host cluster that runs it",
        ),
      ];
    }
    return [
      ...stateFindings(machine),
      ...vssFindings(machine, facts.consistency),
      ...machine.checkpoints
        .filter(({ kind }) => kind === "user")
        .map((checkpoint) => userCheckpoint(machine, checkpoint)),
      ...machine.disks.flatMap((disk) => diskFormatFindings(machine, disk)),
    ];
  });
}

function stateFindings({ name, state, configurationVersion }: VirtualMachine): PreflightFinding[] {
  const findings: PreflightFinding[] = [];
  if (state !== "running") {
    const message = `VM ${name} is not running (${state}), so it cannot be made consistent`;
    findings.push(
      refuse("MEMBER_NOT_RUNNING", name, message, "start it, or take it out of the guest cluster's members"),
    );
  }
  const version = Number(configurationVersion);
  if (!(version >= LOWEST_CONFIGURATION_VERSION)) {
    findings.push(
      refuse(
        "CONFIGURATION_VERSION",
        name,
        `VM ${name} has configuration version ${configurationVersion}; VMs can be checkpointed together from 6.2 on`,
        `shut it down and run Update-VMVersion -Name "${name}"`,
      ),
    );
  } else if (version < CURRENT_CONFIGURATION_VERSION) {
    findings.push(
      warn(
        "CONFIGURATION_VERSION_OLD",
        name,
        `VM ${name} has configuration version ${configurationVersion}, which hosts from Windows Server 2022 on cannot run`,
        `plan Update-VMVersion -Name "${name}"`,
      ),
    );
  }
  return findings;
}

function vssFindings(machine: VirtualMachine, consistency: ConsistencyPolicy): PreflightFinding[] {
  const { name, vssStatus } = machine;
  if (vssStatus === "ok" || machine.state !== "running") return [];
  const message = `the VSS integration service of VM ${name} is ${vssStatus}`;
  const remedy =
    "enable the backup integration service and start the Hyper-V Volume Shadow Copy Requestor in the guest";
  if (vssStatus === "degraded")
    return [warn("VSS_STATUS", name, `${message} (older protocol)`, "update the guest")];
  if (consistency === "application") return [refuse("VSS_STATUS", name, message, remedy)];
  return [warn("VSS_STATUS", name, `${message}; the restore point will only be crash-consistent`, remedy)];
}

function userCheckpoint(machine: VirtualMachine, checkpoint: { readonly name: string }): PreflightFinding {
  return refuse(
    "USER_CHECKPOINT",
    machine.name,
    `VM ${machine.name} has the user checkpoint "${checkpoint.name}"; with it the disks' chains never merge completely`,
    "delete the checkpoint in Hyper-V Manager and wait until its files are merged",
  );
}

/** Disks are told apart by their Virtual Disk ID; a copied template has that of its original. Members see one shared disk. */
function diskIdFindings(machines: readonly VirtualMachine[]): PreflightFinding[] {
  const seen = new Map<string, AttachedDisk>();
  return machines
    .flatMap(({ disks }) => disks)
    .flatMap((disk) => {
      const other = seen.get(disk.diskId) ?? disk;
      seen.set(disk.diskId, other);
      if (other.path === disk.path || (other.shared && disk.shared)) return [];
      const message = `${other.path} and ${disk.path} have the same Virtual Disk ID ${disk.diskId}, so they cannot be told apart`;
      const remedy = "shut its VM down and run Set-VHD -ResetDiskIdentifier on one of them";
      return [refuse("DISK_ID_TWICE", disk.path, message, remedy)];
    });
}

function diskFormatFindings(machine: VirtualMachine, disk: AttachedDisk): PreflightFinding[] {
  const path = disk.path.toLowerCase();
  if (disk.shared && !path.endsWith(".vhds")) {
    return [
      refuse(
        "SHARED_DISK_FORMAT",
        disk.path,
        `the shared disk ${disk.path} of VM ${machine.name} is no VHD Set; the host cannot back it up`,
        "shut the members down and convert it with Convert-VHD to a .vhds file",
      ),
    ];
  }
  if (path.endsWith(".vhd")) {
    return [
      refuse(
        "DISK_FORMAT",
        disk.path,
        `the disk ${disk.path} of VM ${machine.name} has the old VHD format, which has no change tracking`,
        "convert it with Convert-VHD to a .vhdx file",
      ),
    ];
  }
  return [];
}

function guestClusterFindings(
  facts: PreflightFacts,
  answers: readonly GuestClusterInformation[],
): PreflightFinding[] {
  const names = new Map(facts.machines.ok ? facts.machines.value.map(({ vmId, name }) => [vmId, name]) : []);
  const nameOf = (vmId: VmId) => names.get(vmId) ?? vmId;
  const findings: PreflightFinding[] = [];
  for (const { vmId, clusterId } of answers.filter((answer) => answer.clusterId === null)) {
    findings.push(
      refuse(
        "NO_GUEST_CLUSTER",
        nameOf(vmId),
        `VM ${nameOf(vmId)} does not answer as a member of a failover cluster (${String(clusterId)})`,
        "start the cluster service in the guest, or install the failover clustering feature",
      ),
    );
  }
  const clusterIds = new Set(answers.flatMap(({ clusterId }) => clusterId ?? []));
  if (clusterIds.size > 1) {
    const list = answers.map(({ vmId, clusterId }) => `${nameOf(vmId)}: ${String(clusterId)}`).join(", ");
    const remedy = "put only the members of one guest cluster together";
    findings.push(
      refuse(
        "GUEST_CLUSTER_MISMATCH",
        "guest cluster",
        `the members are of different clusters (${list})`,
        remedy,
      ),
    );
  }
  const sizes = new Set(
    answers.filter(({ clusterId }) => clusterId !== null).map(({ clusterSize }) => clusterSize),
  );
  for (const size of sizes) {
    if (size === facts.members.length) continue;
    findings.push(
      refuse(
        "GUEST_CLUSTER_SIZE",
        "guest cluster",
        `the guest cluster has ${size} members, but ${facts.members.length} are configured`,
        "name every VM of the guest cluster in its configuration",
      ),
    );
  }
  return [...findings, ...sharedDiskFindings(answers, nameOf)];
}

function sharedDiskFindings(
  answers: readonly GuestClusterInformation[],
  nameOf: (vmId: VmId) => string,
): PreflightFinding[] {
  const seen = new Map<string, { readonly vmId: VmId; readonly disk: SharedDisk }[]>();
  for (const { vmId, sharedDisks } of answers) {
    for (const disk of sharedDisks) seen.set(disk.path, [...(seen.get(disk.path) ?? []), { vmId, disk }]);
  }
  return [...seen].flatMap(([path, views]) => {
    const found: PreflightFinding[] = [];
    const add = (code: string, message: string, remedy: string) =>
      found.push(refuse(code, path, message, remedy));
    if (views.some(({ disk }) => !disk.isClustered)) {
      add(
        "SHARED_DISK_NOT_CLUSTERED",
        `the shared disk ${path} is no resource of the guest cluster`,
        "add it to the cluster in the guest",
      );
    }
    if (views.some(({ disk }) => disk.isActiveActive)) {
      const message = `the shared disk ${path} is a Cluster Shared Volume inside the guest, which cannot be checkpointed`;
      add(
        "SHARED_DISK_ACTIVE_ACTIVE",
        message,
        'use "Remove from Cluster Shared Volumes" in the guest cluster',
      );
    }
    if (views.every(({ disk }) => !disk.isOnline)) {
      add(
        "SHARED_DISK_OFFLINE",
        `the shared disk ${path} is offline in the guest cluster`,
        "bring it online in the guest cluster",
      );
    }
    const owners = views.filter(({ disk }) => disk.isOwned).map(({ vmId }) => nameOf(vmId));
    if (owners.length !== 1) {
      const who = owners.length === 0 ? "no member" : owners.join(" and ");
      const message = `the shared disk ${path} must have exactly one owner, but ${who} claims it`;
      add("SHARED_DISK_OWNER", message, "bring the disk online on one member of the guest cluster");
    }
    return found;
  });
}
type SharedDisk = GuestClusterInformation["sharedDisks"][number];

function readinessFindings({
  configStoreRootPath,
  volumes,
  missingFolderRights,
}: HostReadiness): PreflightFinding[] {
  const findings: PreflightFinding[] = [];
  if (configStoreRootPath === null) {
    findings.push(
      refuse(
        "CONFIG_STORE_UNSET",
        "host cluster",
        "ConfigStoreRootPath of the host cluster is not set, so VMs cannot be put into a collection",
        "set it once: Get-ClusterResource 'Virtual Machine Cluster WMI' | Set-ClusterParameter ConfigStoreRootPath <folder on a CSV>",
      ),
    );
  }
  for (const { vmId, directory } of missingFolderRights) {
    findings.push(
      refuse(
        "FOLDER_RIGHTS",
        directory,
        `VM ${vmId} may not write to ${directory}, so its checkpoint files would never be merged (event 19100)`,
        `icacls "${directory}" /grant "NT VIRTUAL MACHINE\\${vmId}":(OI)F`,
      ),
    );
  }
  for (const { directory, freeBytes, usedBytes } of volumes) {
    if (freeBytes >= usedBytes * WARN_FREE_SHARE) continue;
    const make = freeBytes < usedBytes * REFUSE_FREE_SHARE ? refuse : warn;
    const message = `the volume of ${directory} has ${freeBytes} bytes free beside ${usedBytes} used; checkpoint files grow there during the run`;
    findings.push(make("FREE_SPACE", directory, message, "free space on the volume or extend it"));
  }
  return findings;
}

/** What earlier runs or other products left. This run's own remains are taken away by its consistency point. */
function leftoverFindings(facts: PreflightFacts): PreflightFinding[] {
  const findings: PreflightFinding[] = [];
  const active = new Set<string>([facts.runId, ...facts.otherRuns.map(({ runId }) => runId)]);
  const collections = facts.recoveryCheckpoints.ok ? facts.recoveryCheckpoints.value : [];
  for (const { tag, snapshotCollectionId } of collections.filter((each) => !active.has(each.tag))) {
    findings.push(
      refuse(
        "RECOVERY_CHECKPOINT_LEFT",
        snapshotCollectionId,
        `an earlier run (${tag}) left the recovery checkpoint ${snapshotCollectionId} on the members`,
        "remove it: Get-VMSnapshot -SnapshotType Recovery | Remove-VMSnapshot; never delete .avhdx files by hand",
      ),
    );
  }
  const known = new Set(
    collections.flatMap(({ members }) => members.map(({ checkpointId }) => checkpointId)),
  );
  for (const machine of facts.machines.ok ? facts.machines.value : []) {
    for (const checkpoint of machine.checkpoints) {
      if (checkpoint.kind !== "recovery" || known.has(checkpoint.id)) continue;
      findings.push(
        refuse(
          "RECOVERY_CHECKPOINT_LEFT",
          machine.name,
          `VM ${machine.name} has the recovery checkpoint "${checkpoint.name}" of another product or of a failed run`,
          `let the other product finish, or remove it: Get-VMSnapshot -VMName "${machine.name}" -SnapshotType Recovery | Remove-VMSnapshot`,
        ),
      );
    }
  }
  const snapshots = facts.storageSnapshots.ok ? facts.storageSnapshots.value : [];
  for (const { tag, storageSnapshotId } of snapshots.filter((each) => !active.has(each.tag))) {
    findings.push(
      warn(
        "STORAGE_SNAPSHOT_LEFT",
        storageSnapshotId,
        `an earlier run (${tag}) left the storage snapshot ${storageSnapshotId}, which takes space`,
        `delete it with diskshadow: delete shadows set ${storageSnapshotId}`,
      ),
    );
  }
  return findings;
}

function refuse(code: string, subject: string, message: string, remedy: string): PreflightFinding {
  return { code: `PREFLIGHT_${code}`, severity: "refuse", subject, message, remedy };
}

function warn(code: string, subject: string, message: string, remedy: string): PreflightFinding {
  return { code: `PREFLIGHT_${code}`, severity: "warn", subject, message, remedy };
}
