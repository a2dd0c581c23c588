import { readdirSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import type {
  AttachedDisk,
  GuestClusterInformation,
  HostReadiness,
  VirtualMachine,
} from "../../agent/hyperv-host.ts";
import type { Leftover, VmId } from "../../contracts/index.ts";
import { volumeFolder, type EstateDisk, type EstateVm } from "../estate/layout.ts";
import type { Fault } from "../faults.ts";
import type { RunningEstate } from "./running-estate.ts";

/** Kinds of faults that stand on one VM and change what the host says of it. */
type VmFault = Extract<Fault, { readonly vmId: VmId }>["kind"];

function hasFault(estate: RunningEstate, kind: VmFault, vmId: VmId): boolean {
  return estate.faults.find(kind, (fault) => fault.vmId === vmId) !== undefined;
}

function knownVms(estate: RunningEstate, vmIds: readonly VmId[]): EstateVm[] {
  return estate.layout.vms.filter(
    ({ vmId }) => vmIds.includes(vmId) && !hasFault(estate, "member-missing", vmId),
  );
}

function disksOfVm(estate: RunningEstate, vmId: VmId): EstateDisk[] {
  return estate.layout.disks.filter(({ attachedTo }) => attachedTo.includes(vmId));
}

function pathOf(estate: RunningEstate, disk: EstateDisk): string {
  return join(volumeFolder(estate.folder, disk.volume), disk.file);
}

export function virtualMachines(estate: RunningEstate, vmIds: readonly VmId[]): VirtualMachine[] {
  const { faults, state } = estate;
  return knownVms(estate, vmIds).map(({ vmId, name, configurationVersion }) => {
    const isThis = (fault: { readonly vmId: VmId }) => fault.vmId === vmId;
    const userCheckpoint = faults.find("user-checkpoint", isThis);
    const recovery = state.current.checkpoints.flatMap(({ members, tag }) =>
      members
        .filter(isThis)
        .map(({ checkpointId }) => ({ id: checkpointId, kind: "recovery" as const, name: tag })),
    );
    return {
      vmId,
      name,
      state: hasFault(estate, "member-off", vmId) ? "off" : "running",
      configurationVersion: faults.find("configuration-version", isThis)?.version ?? configurationVersion,
      vssStatus: faults.find("vss-status", isThis)?.status ?? "ok",
      disks: disksOfVm(estate, vmId).map((disk): AttachedDisk => ({
        diskId: disk.diskId,
        path: pathOf(estate, disk),
        shared: disk.shared,
      })),
      checkpoints: [
        ...recovery,
        ...(userCheckpoint === undefined
          ? []
          : [{ id: `user-${vmId}`, kind: "user" as const, name: userCheckpoint.name }]),
        ...(hasFault(estate, "foreign-recovery-checkpoint", vmId)
          ? [{ id: `foreign-${vmId}`, kind: "recovery" as const, name: "another product's backup" }]
          : []),
      ],
    };
  });
}

export function guestClusterInformation(
  estate: RunningEstate,
  vmIds: readonly VmId[],
): GuestClusterInformation[] {
  const { faults, layout } = estate;
  const diskState = faults.find("shared-disk")?.state;
  return knownVms(estate, vmIds).map(({ vmId }) => {
    const number = layout.vms.findIndex((vm) => vm.vmId === vmId);
    const isOwner = number === 0 && diskState !== "not-owned" && diskState !== "offline";
    return {
      vmId,
      clusterId: hasFault(estate, "no-guest-cluster", vmId)
        ? null
        : hasFault(estate, "other-guest-cluster", vmId)
          ? `0000${layout.clusterId.slice(4)}`
          : layout.clusterId,
      clusterSize: faults.find("guest-cluster-size")?.size ?? layout.vms.length,
      sharedDisks: disksOfVm(estate, vmId)
        .filter(({ shared }) => shared)
        .map((disk) => ({
          path: pathOf(estate, disk),
          isClustered: diskState !== "not-clustered",
          isOnline: diskState !== "offline",
          isOwned: isOwner || (number === 1 && diskState === "two-owners"),
          isActiveActive: diskState === "active-active",
        })),
    };
  });
}

export function readiness(estate: RunningEstate, vmIds: readonly VmId[]): HostReadiness {
  const { faults, folder } = estate;
  const volumes = estate.layout.volumes.map(({ name }) => {
    const directory = volumeFolder(folder, name);
    const { bavail, bsize } = statfsSync(directory);
    const usedBytes = readdirSync(directory).reduce(
      (sum, file) => sum + (statSync(join(directory, file), { throwIfNoEntry: false })?.size ?? 0),
      0,
    );
    return { directory, freeBytes: faults.find("free-space")?.freeBytes ?? bavail * bsize, usedBytes };
  });
  return {
    configStoreRootPath:
      faults.find("config-store-unset") === undefined ? join(folder, "config-store") : null,
    volumes,
    missingFolderRights: knownVms(estate, vmIds)
      .filter(({ vmId }) => hasFault(estate, "folder-rights-missing", vmId))
      .flatMap(({ vmId }) =>
        disksOfVm(estate, vmId).map((disk) => ({ vmId, directory: volumeFolder(folder, disk.volume) })),
      ),
  };
}

/** Called when nothing is under way: then a frozen member, a differencing file without checkpoint and the like are left over. */
export function leftovers(estate: RunningEstate, vmIds: readonly VmId[]): Leftover[] {
  const { state, layout, folder } = estate;
  const found: Leftover[] = [];
  for (const { id, tag, members } of state.current.checkpoints) {
    if (!members.some(({ vmId }) => vmIds.includes(vmId))) continue;
    found.push({
      kind: "recovery-checkpoint",
      id,
      subject: tag,
      remedy: "remove the recovery checkpoint; its differencing files grow until then",
    });
  }
  for (const { id, tag, volumes } of state.current.storageSnapshots) {
    const holds = layout.disks.some(
      ({ volume, attachedTo }) => volumes.includes(volume) && attachedTo.some((vmId) => vmIds.includes(vmId)),
    );
    if (!holds) continue;
    found.push({ kind: "storage-snapshot", id, subject: tag, remedy: "release the storage snapshot" });
  }
  const held = new Set(state.current.checkpoints.flatMap(({ disks }) => disks.map(({ diskId }) => diskId)));
  for (const { name: volume } of layout.volumes) {
    const directory = volumeFolder(folder, volume);
    const unmerged = new Set(
      layout.disks
        .filter((disk) => disk.volume === volume && !held.has(disk.diskId))
        .flatMap((disk) => estate.disk(disk.diskId).chain.slice(0, -1)),
    );
    for (const file of readdirSync(directory).filter((name) => name.endsWith(".avhdx"))) {
      const isOrphan = !estate.isInChain(volume, file);
      if (!isOrphan && !unmerged.has(file)) continue;
      const remedy = isOrphan
        ? "no disk needs the file: delete it once no other product claims it"
        : "the file was not merged: remove or convert the checkpoint again";
      found.push({ kind: "orphan-avhdx", id: join(directory, file), subject: volume, remedy });
    }
  }
  for (const { vmId, name } of knownVms(estate, vmIds)) {
    if (!estate.member(vmId).isFrozen) continue;
    found.push({
      kind: "frozen-member",
      id: vmId,
      subject: name,
      remedy: "restart the VSS service in the guest",
    });
  }
  return found;
}
