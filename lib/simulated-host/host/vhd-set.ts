import { join } from "node:path";
import type { VhdSetInformation } from "../../agent/hyperv-host.ts";
import { writeJsonFile } from "../estate/json-file.ts";
import { volumeFolder, type EstateDisk } from "../estate/layout.ts";
import type { RunningEstate } from "./running-estate.ts";

/** What the host knows of a VHD Set. */
export function vhdSetInformation(estate: RunningEstate, disk: EstateDisk): VhdSetInformation {
  const folder = volumeFolder(estate.folder, disk.volume);
  const { chain, activeFile } = estate.disk(disk.diskId);
  return {
    path: join(folder, disk.file),
    activePath: join(folder, activeFile),
    chain: chain.map((file) => join(folder, file)),
    entries: (estate.state.current.setEntries[disk.diskId] ?? []).map(({ file, ...entry }) => ({
      ...entry,
      path: file === null ? null : join(folder, file),
    })),
  };
}

/**
 * Writes the `.vhds` files. The real format is not documented, so these are JSON and say so; they hold what a real one is known
 * to hold: the active file, and an entry for each checkpoint and reference point.
 */
export function writeVhdSetFiles(estate: RunningEstate): void {
  for (const disk of estate.layout.disks.filter(({ shared }) => shared)) {
    writeJsonFile(join(volumeFolder(estate.folder, disk.volume), disk.file), {
      formatVersion: 1,
      note: "Stand-in for a VHD Set, written by a simulated host: the layout of real .vhds files is not documented.",
      activeFile: estate.disk(disk.diskId).activeFile,
      entries: estate.state.current.setEntries[disk.diskId] ?? [],
    });
  }
}
