/**
 * Writing disks of a restore point back as VHDX files, each proved against the manifest before it gets its name.
 * `restoreDisks` does it, `planRestore` says what it would do, `removeUnfinished` clears away what a cut left.
 */
export { confineTarget } from "./confine-target.ts";
export { planRestore, type PlannedDisk } from "./plan-restore.ts";
export { removeUnfinished, restoreDisks, type RestoreRequest } from "./restore-disks.ts";
export type { RestorableDisk, RestoreSource } from "./source.ts";
