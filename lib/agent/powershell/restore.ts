import type * as z from "zod";
import type { VmId } from "../../contracts/index.ts";
import * as answers from "./answers.ts";
import type { Ask } from "./ask.ts";
import type { PowerShellSettings } from "./settings.ts";

/**
 * What a restore needs of the host beside writing files: VHD Sets and VMs. In this order (hyperv.md §3, Restore): write the
 * disks, make sets of the shared ones, import the configuration as a planned VM, point its disks at the files, validate,
 * realize; on failure remove the planned VM.
 */
export interface VirtualMachineRestore {
  /** Whether a folder can take disks; made when missing. */
  checkPlacement(request: {
    directory: string;
    neededBytes: number;
    shared: boolean;
  }): Promise<z.infer<typeof answers.Placement>>;
  /** Makes a VHD Set of a `.vhdx` that no VM uses. @returns path of the `.vhds` */
  convertToVhdSet(path: string): Promise<string>;
  importPlanned(request: {
    configurationPath: string;
    snapshotDirectory: string;
    newId: boolean;
  }): Promise<z.infer<typeof answers.PlannedVm>>;
  setPlannedDisks(
    vmId: VmId,
    disks: readonly { readonly instanceId: string; readonly path: string }[],
  ): Promise<void>;
  /** @throws BackupError when Hyper-V would refuse to realize it */
  validatePlanned(vmId: VmId): Promise<void>;
  /** The VM exists afterwards and is off. Realized already is fine. */
  realizePlanned(vmId: VmId): Promise<void>;
  /** Takes an import back. Gone already is fine. */
  removePlanned(vmId: VmId): Promise<void>;
  /** Copies `.vmcx`, `.vmrs`, `.vmgs` of a checkpoint into a folder of the host. */
  copyCheckpointConfiguration(request: {
    vmId: VmId;
    checkpointId: string;
    targetDirectory: string;
  }): Promise<z.infer<typeof answers.CopiedFiles>["files"]>;
}

export function createRestore(ask: Ask, settings: PowerShellSettings): VirtualMachineRestore {
  const run = <T extends z.ZodType>(
    script: string,
    input: Record<string, unknown>,
    answer: T,
  ): Promise<z.infer<T>> =>
    ask({ script, activity: "restore", input, answer, timeoutMs: settings.callTimeoutMs + 60_000 });
  return {
    checkPlacement: (request) => run("Test-DiskPlacement", request, answers.Placement),
    convertToVhdSet: async (path) => (await run("ConvertTo-VhdSet", { path }, answers.MadePath)).path,
    importPlanned: (request) => run("Import-PlannedVirtualMachine", request, answers.PlannedVm),
    async setPlannedDisks(vmId, disks) {
      await run("Set-PlannedDisk", { vmId, disks }, answers.Done);
    },
    async validatePlanned(vmId) {
      await run("Test-PlannedVirtualMachine", { vmId }, answers.Done);
    },
    async realizePlanned(vmId) {
      await run("Complete-PlannedVirtualMachine", { vmId }, answers.Done);
    },
    async removePlanned(vmId) {
      await run("Remove-PlannedVirtualMachine", { vmId }, answers.Done);
    },
    copyCheckpointConfiguration: async (request) =>
      (await run("Copy-CheckpointConfiguration", request, answers.CopiedFiles)).files,
  };
}
