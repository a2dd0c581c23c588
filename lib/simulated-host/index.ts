/**
 * A Hyper-V host without Hyper-V: the `HyperVHost` port over a folder of real VHDX files, in a process of its own.
 *
 * - `createEstate` makes the disks and VMs of one guest cluster, `startSimulatedHost` runs it, `connectSimulatedHost` reaches it.
 * - `checkWriters`, `checkWriterDisks`: whether disks, restored ones for example, are one instant of the estate.
 * - `setFaults`: what goes wrong on call.
 */
export { checkEstate } from "./estate/check-estate.ts";
export { checkDiskFiles } from "./estate/check-files.ts";
export {
  createEstate,
  type CreatedEstate,
  type EstateOptions,
  type SharedDiskContent,
} from "./estate/create-estate.ts";
export { Fault } from "./faults.ts";
export type { HostLog } from "./host/running-estate.ts";
export { connectSimulatedHost, setFaults } from "./wire/client.ts";
export { startSimulatedHost, type SimulatedHost } from "./wire/server.ts";
export { checkWriterDisks, checkWriters, type CheckOptions, type WriterCheck } from "./writers/check.ts";
export type { DiskReader } from "./writers/superblock.ts";
