import type { ByteRange, DiskSizes } from "../contracts/index.ts";
import type { RestoreSource } from "../restore/index.ts";
import type { VirtualDisk } from "../vhdx/index.ts";

/** What the last restore point holds of a disk. */
export interface BaseDisk {
  readonly mapRoot: string;
  readonly sizeBytes: number;
}

export type DiskChanges =
  | { readonly kind: "full" }
  | { readonly kind: "compare"; readonly base: BaseDisk }
  | { readonly kind: "ranges"; readonly base: BaseDisk; readonly ranges: readonly ByteRange[] };

export interface ShipRequest {
  readonly disk: VirtualDisk;
  readonly changes: DiskChanges;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: { readonly doneBytes: number; readonly totalBytes: number }) => void;
}

/** A repository that chunks can be added to, but not read from. */
export interface BackupTarget {
  /** Resolves when everything of the disk is stored for good. Safe to repeat: what is there already is found. */
  backUpDisk(request: ShipRequest): Promise<{ readonly mapRoot: string; readonly sizes: DiskSizes }>;
}

/** How the agent gets at the repository. `url` is asked again for every request, since its token is renewed on the way. */
export interface RepositoryPort {
  openForBackup(url: () => string): Promise<BackupTarget>;
  /** @throws BackupError RESTORE_PASSPHRASE_MISSING when the agent is not allowed to read */
  openForRestore(url: () => string): Promise<RestoreSource>;
}
