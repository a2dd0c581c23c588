import type { DiskId, MapRoot, PointDisk } from "../contracts/index.ts";
import type { VirtualDisk } from "../vhdx/index.ts";
import type * as z from "zod";

/** What a restore point says of one disk. */
export interface RestorableDisk extends Pick<
  PointDisk,
  "label" | "virtualSizeBytes" | "logicalSectorBytes" | "physicalSectorBytes" | "blockBytes"
> {
  readonly diskId: DiskId;
  readonly mapRoot: z.infer<typeof MapRoot>;
}

/** A repository that can be read, as far as a restore needs it. */
export interface RestoreSource {
  /** The disks of a restore point, whose manifest was authenticated. */
  readDisks(manifest: string): Promise<readonly RestorableDisk[]>;
  /** The disk's data in ascending order, each piece authenticated; what is left out is zero. */
  readContent(
    disk: RestorableDisk,
    signal: AbortSignal,
  ): AsyncIterable<{ readonly offsetBytes: number; readonly data: Uint8Array }>;
  /** The root of the map that these bytes would have in the repository: the digest of the whole disk. */
  computeMapRoot(
    disk: VirtualDisk,
    options: { readonly signal: AbortSignal; readonly onProgress: (doneBytes: number) => void },
  ): Promise<string>;
}
