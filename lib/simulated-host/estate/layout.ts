import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { DiskId, Guid, VmId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";

/*
 * The folder of an estate:
 *   estate.json            what was created: VMs, volumes, disks (this module); never changed afterwards
 *   state.json             what the host did since (host/state.ts)
 *   lock.db                held by the process that runs the estate
 *   volumes/<name>/        the files of the VMs: VHDX, AVHDX and VHDS stand-ins
 *   tracking/<disk>.json   resilient change tracking
 *   storage-snapshots/<id>/<name>/   copies of volumes
 */

/** A plain file name: no folder, nothing that another system reads as one. */
const FileName = z
  .string()
  .regex(/^[\w. -]{1,200}$/)
  .refine((name) => !/^\.+$/.test(name), "no file name");

const EstateFile = z.object({
  formatVersion: z.literal(1),
  estateId: z.guid(),
  /** Id of the failover cluster inside the members. */
  clusterId: Guid,
  volumes: z.array(z.object({ name: FileName })).min(1),
  vms: z
    .array(
      z.object({
        vmId: VmId,
        name: FileName,
        configurationVersion: z.string(),
        /** How long the guest needs from the freeze request until it stands still. */
        freezeMs: z.number().nonnegative(),
      }),
    )
    .min(1)
    .max(64),
  disks: z.array(
    z.object({
      diskId: DiskId,
      volume: FileName,
      /** `<name>.vhds` or `<vm>.vhdx`: what the VM's configuration names. */
      file: FileName,
      /** The file that holds the data. */
      baseFile: FileName,
      shared: z.boolean(),
      attachedTo: z.array(VmId).min(1),
    }),
  ),
  /** The target of all writers together. */
  writeBytesPerSecond: z.number().positive(),
});
export type Estate = z.infer<typeof EstateFile>;
export type EstateVm = Estate["vms"][number];
export type EstateDisk = Estate["disks"][number];

export const parseEstate = (value: unknown): Estate => EstateFile.parse(value);

export const estateFile = (folder: string) => join(folder, "estate.json");
export const stateFile = (folder: string) => join(folder, "state.json");
export const lockFile = (folder: string) => join(folder, "lock.db");
export const volumeFolder = (folder: string, volume: string) => join(folder, "volumes", volume);
export const snapshotsFolder = (folder: string) => join(folder, "storage-snapshots");
export const trackingFile = (folder: string, diskId: string) => join(folder, "tracking", `${diskId}.json`);

/** @throws BackupError SIMULATED_ESTATE_INVALID when the folder holds no estate, or a damaged one */
export function loadEstate(folder: string): Estate {
  const file = estateFile(folder);
  if (!existsSync(file)) {
    throw new BackupError(
      "SIMULATED_ESTATE_INVALID",
      `${folder} holds no estate; create one with gcb simulated-host create --folder ${folder}`,
      { retry: "after-operator", facts: { folder } },
    );
  }
  try {
    return parseEstate(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new BackupError("SIMULATED_ESTATE_INVALID", `${file} cannot be read; create the estate anew`, {
      retry: "after-operator",
      facts: { folder },
      cause,
    });
  }
}
