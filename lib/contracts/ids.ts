import * as z from "zod";

/** Name of a guest cluster in settings, URLs and blob names: lower-case letters, digits and inner hyphens. */
export const GuestClusterId = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/, "1 to 40 lower-case letters, digits and inner hyphens")
  .brand<"GuestClusterId">();
export type GuestClusterId = z.infer<typeof GuestClusterId>;

/** One run of a backup or restore: UTC start time and eight hex digits, so that names sort by time. */
export const RunId = z
  .string()
  .regex(/^\d{8}t\d{6}z-[0-9a-f]{8}$/, "like 20261123t031500z-0a1b2c3d")
  .brand<"RunId">();
export type RunId = z.infer<typeof RunId>;

/** Name of an agent; also the name of its Hybrid Connection. */
export const AgentId = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?$/, "1 to 50 lower-case letters, digits and inner hyphens")
  .brand<"AgentId">();
export type AgentId = z.infer<typeof AgentId>;

/** A GUID without braces, lower-case. */
export const Guid = z
  .string()
  .regex(/^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/, "a GUID without braces")
  .transform((text) => text.toLowerCase());

/** The GUID of a VM (`Msvm_ComputerSystem.Name`). */
export const VmId = Guid.brand<"VmId">();
export type VmId = z.infer<typeof VmId>;

/**
 * The Virtual Disk ID of a disk ([MS-VHDX] 2.6.2.4, the "page 83" identifier). It stays the same over checkpoints, merges
 * and moves, so it pairs a disk with itself between runs; paths and WMI instance ids do not.
 */
export const DiskId = Guid.brand<"DiskId">();
export type DiskId = z.infer<typeof DiskId>;

/** Makes the id of a run that starts now. `entropy` is at least eight hex digits that no other run of that second has. */
export function makeRunId(startedAt: Date, entropy: string): RunId {
  const stamp = startedAt.toISOString().slice(0, 19).replaceAll(/[-:]/g, "").toLowerCase();
  return RunId.parse(`${stamp}z-${entropy.replaceAll("-", "").slice(0, 8).toLowerCase()}`);
}
