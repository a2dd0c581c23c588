import type { ByteRange, VmId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import type {
  CheckpointedDisk,
  GuestClusterInformation,
  RecoveryCheckpoint,
  ReferencePointCollection,
  VhdSetInformation,
  VirtualMachine,
} from "../hyperv-host.ts";
import type {
  Checkpoint,
  DiskChanges,
  GuestClusters,
  ReferencePoints,
  VhdSet,
  VirtualMachines,
} from "./answers.ts";
import type * as z from "zod";

/* From what scripts answer to what the port says. Pure. */

/** `Msvm_ComputerSystem.EnabledState` (hyperv.md §1.1). 6 = saved and 9 = paused are inferred; only 2 is treated as running. */
const STATES: Readonly<Record<number, VirtualMachine["state"]>> = {
  2: "running",
  3: "off",
  6: "saved",
  9: "paused",
};

/** `Msvm_VssComponent.OperationalStatus[0]` (hyperv.md §1.7). Anything else: nobody answers. */
const VSS: Readonly<Record<number, VirtualMachine["vssStatus"]>> = {
  2: "ok",
  3: "degraded",
  7: "incompatible",
  12: "no-contact",
  13: "lost-communication",
};

const RECOVERY_TYPE = "Microsoft:Hyper-V:Snapshot:Recovery";
/** A freeze ends by itself after 60 s (VSS writers' default, hyperv.md §5). */
const LONGEST_FREEZE_MS = 60_000;

export function toVirtualMachine(
  raw: z.infer<typeof VirtualMachines>["virtualMachines"][number],
): VirtualMachine {
  return {
    vmId: raw.vmId,
    name: raw.name,
    state: STATES[raw.enabledState] ?? "other",
    configurationVersion: raw.configurationVersion,
    vssStatus: VSS[raw.vssStatus] ?? "no-contact",
    disks: raw.disks.map(({ diskId, path, shared }) => ({ diskId, path, shared })),
    checkpoints: raw.checkpoints.map(({ id, type, name }) => ({
      id,
      kind: type === RECOVERY_TYPE ? "recovery" : "user",
      name,
    })),
  };
}

/** @throws BackupError HYPERV_ANSWER_INVALID when the parallel arrays differ in length: no flag is guessed */
export function toGuestCluster(
  raw: z.infer<typeof GuestClusters>["members"][number],
): GuestClusterInformation {
  const { paths, isClustered, isOnline, isOwned, isActiveActive } = raw;
  return {
    vmId: raw.vmId,
    clusterId: raw.clusterId === "" ? null : raw.clusterId,
    clusterSize: raw.clusterSize,
    sharedDisks: paths.map((path, index) => ({
      path,
      isClustered: flag(isClustered, index, raw.vmId),
      isOnline: flag(isOnline, index, raw.vmId),
      isOwned: flag(isOwned, index, raw.vmId),
      isActiveActive: flag(isActiveActive, index, raw.vmId),
    })),
  };
}

function flag(flags: readonly boolean[], index: number, vmId: VmId): boolean {
  const value = flags[index];
  if (value !== undefined) return value;
  throw new BackupError(
    "HYPERV_ANSWER_INVALID",
    `VM ${vmId} names more shared disks than it says anything about. Check its cluster service, then try again.`,
    { retry: "later", facts: { vmId } },
  );
}

/**
 * A checkpoint with shared disks merged over their members. Freeze and thaw are bounds: Hyper-V reports neither, so the
 * start and end of its call stand for them. Without a record (it was made by somebody else) a freeze is taken to have been
 * as long as VSS allows, and the consistency to be no more than crash.
 */
export function toRecoveryCheckpoint(raw: Checkpoint): RecoveryCheckpoint {
  return {
    snapshotCollectionId: raw.snapshotCollectionId,
    tag: raw.tag,
    members: raw.members.map(({ vmId, checkpointId, createdAtMs }) => {
      const frozenAtMs = raw.startedAtMs > 0 ? raw.startedAtMs : createdAtMs;
      const thawedAtMs =
        raw.endedAtMs >= frozenAtMs && raw.endedAtMs > 0 ? raw.endedAtMs : frozenAtMs + LONGEST_FREEZE_MS;
      return {
        vmId,
        checkpointId,
        consistency: raw.consistency === "application" ? "application" : "crash",
        frozenAt: new Date(frozenAtMs),
        thawedAt: new Date(thawedAtMs),
        frozenMs: thawedAtMs - frozenAtMs,
      };
    }),
    disks: mergeDisks(raw.disks),
  };
}

function mergeDisks(all: Checkpoint["disks"]): CheckpointedDisk[] {
  const merged = new Map<string, { first: Checkpoint["disks"][number]; attachedTo: VmId[] }>();
  for (const disk of all) {
    const key = disk.shared ? disk.path.toLowerCase() : `${disk.vmId} ${disk.path.toLowerCase()}`;
    const known = merged.get(key);
    if (known === undefined) merged.set(key, { first: disk, attachedTo: [disk.vmId] });
    else known.attachedTo.push(disk.vmId);
  }
  return [...merged.values()].map(({ first, attachedTo }) => ({
    diskId: first.diskId,
    path: first.path,
    shared: first.shared,
    attachedTo,
    staticPath: first.staticPath,
    setSnapshotId: first.setSnapshotId === "" ? null : first.setSnapshotId,
  }));
}

export function toReferencePoints(raw: ReferencePoints): ReferencePointCollection {
  return {
    referencePointCollectionId: raw.referencePointCollectionId,
    tag: raw.tag,
    createdAt: new Date(raw.createdAtMs),
    disks: raw.disks.map(({ diskId, id, rctId }) => ({ diskId, id, rctId })),
  };
}

export function toVhdSet(raw: z.infer<typeof VhdSet>): VhdSetInformation {
  const [activePath] = raw.chain;
  if (activePath === undefined) {
    throw new BackupError(
      "HYPERV_ANSWER_INVALID",
      `The VHD Set ${raw.path} names no file. Look at it with Get-VHDSet -GetAllPaths.`,
      { facts: { path: raw.path } },
    );
  }
  return {
    path: raw.path,
    activePath,
    chain: raw.chain,
    entries: raw.entries.map((entry) => ({
      snapshotId: entry.snapshotId,
      path: entry.path === "" ? null : entry.path,
      rctId: entry.rctId,
      createdAt: parseCimDateTime(entry.creationTime),
    })),
  };
}

const CIM_DATE_TIME = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})\.(\d{3})\d{3}([+-])(\d{3})$/;

/** A CIM DATETIME, `yyyymmddHHMMSS.mmmmmm±UUU` with the offset in minutes; what cannot be read is the epoch. */
export function parseCimDateTime(text: string): Date {
  const found = CIM_DATE_TIME.exec(text);
  if (found === null) return new Date(0);
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, ms = 0] = found
    .slice(1, 8)
    .map(Number);
  const offsetMinutes = Number(found[9]) * (found[8] === "-" ? -1 : 1);
  return new Date(Date.UTC(year, month - 1, day, hour, minute, second, ms) - offsetMinutes * 60_000);
}

/**
 * The ranges of a page, ascending and merged. A doubtful answer (a range outside what was asked, lists of different length,
 * no progress) counts as a lost reference point: the disk is read completely rather than too little.
 */
export function toChanges(
  raw: z.infer<typeof DiskChanges>,
  asked: ByteRange,
  path: string,
): { readonly processedBytes: number; readonly ranges: readonly ByteRange[] } {
  const offsets = numbers(raw.offsets);
  const lengths = numbers(raw.lengths);
  const end = asked.offsetBytes + raw.processedBytes;
  const ranges = offsets.map((offsetBytes, index) => ({ offsetBytes, lengthBytes: lengths[index] ?? -1 }));
  const isSound =
    offsets.length === lengths.length &&
    raw.processedBytes > 0 &&
    raw.processedBytes <= asked.lengthBytes &&
    ranges.every(
      ({ offsetBytes, lengthBytes }) =>
        lengthBytes > 0 &&
        offsetBytes >= asked.offsetBytes &&
        Number.isSafeInteger(offsetBytes + lengthBytes) &&
        offsetBytes + lengthBytes <= end,
    );
  if (!isSound) {
    throw new BackupError(
      "REFERENCE_POINT_LOST",
      `Hyper-V gave change ranges of ${path} that contradict the question. The disk is read completely.`,
      { facts: { path, processedBytes: raw.processedBytes, ranges: ranges.length } },
    );
  }
  return { processedBytes: raw.processedBytes, ranges: mergeSorted(ranges) };
}

function numbers(list: string): number[] {
  return list === "" ? [] : list.split(",").map(Number);
}

function mergeSorted(ranges: readonly ByteRange[]): ByteRange[] {
  const merged: { offsetBytes: number; lengthBytes: number }[] = [];
  for (const range of ranges.toSorted((a, b) => a.offsetBytes - b.offsetBytes)) {
    const last = merged.at(-1);
    if (last !== undefined && range.offsetBytes <= last.offsetBytes + last.lengthBytes) {
      const end = Math.max(last.offsetBytes + last.lengthBytes, range.offsetBytes + range.lengthBytes);
      last.lengthBytes = end - last.offsetBytes;
    } else merged.push({ ...range });
  }
  return merged;
}
