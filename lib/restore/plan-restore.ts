import type { DiskId } from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";
import type { RestorableDisk } from "./source.ts";

export interface PlannedDisk {
  readonly disk: RestorableDisk;
  /** Base name of the file that is written. */
  readonly fileName: string;
}

/**
 * Which disks are written under which names. A VHD Set becomes one `.vhdx`; two disks of the same name are told apart by their ids.
 *
 * @throws BackupError RESTORE_DISK_UNKNOWN
 */
export function planRestore(
  disks: readonly RestorableDisk[],
  diskIds: readonly DiskId[] | undefined,
): PlannedDisk[] {
  const unknown = diskIds?.find((id) => !disks.some(({ diskId }) => diskId === id));
  if (unknown !== undefined) {
    const known = disks.map(({ diskId, label }) => `${diskId} (${label})`).join(", ");
    throw new BackupError(
      "RESTORE_DISK_UNKNOWN",
      `the restore point has no disk ${unknown}; it has ${known}`,
      { facts: { diskId: unknown } },
    );
  }
  // Names are given over all disks of the point, so that a disk has the same name whichever others are restored with it.
  const stems = disks.map(({ label }) => stemOf(label));
  return disks
    .map((disk, index): PlannedDisk => {
      const stem = stems[index] ?? "";
      const isUnique = stems.filter((each) => each.toLowerCase() === stem.toLowerCase()).length === 1;
      return { disk, fileName: `${isUnique ? stem : `${stem}-${disk.diskId}`}.vhdx` };
    })
    .filter(({ disk }) => diskIds === undefined || diskIds.includes(disk.diskId));
}

const EXTENSION = /\.(?:vhds|vhdx|avhdx)$/i;
/** Names that Windows takes for devices, with any extension. */
const DEVICE = /^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i;

/** A file name without extension that means the same everywhere: what no file system takes becomes "_". */
function stemOf(label: string): string {
  const stem = label
    .replace(EXTENSION, "")
    .replaceAll(/[\\/:*?"<>|]|\p{Cc}/gu, "_")
    .replace(/^[. ]+|[. ]+$/g, "_")
    .slice(0, 150);
  return stem === "" || DEVICE.test(stem) ? `_${stem}` : stem;
}
