import type { ByteRange } from "../contracts/index.ts";
import type { Guid } from "./guid.ts";
import type { SectorBytes } from "./layout.ts";

/** A disk as the guest sees it, of one file or of a chain. */
export interface VirtualDisk {
  readonly sizeBytes: number;
  readonly logicalSectorBytes: SectorBytes;
  readonly physicalSectorBytes: SectorBytes;
  /** Block size of the top file. */
  readonly blockBytes: number;
  /** The "page 83" id that the guest sees; it stays the same along a chain of checkpoints. */
  readonly diskId: Guid;
  readonly kind: "dynamic" | "fixed" | "differencing";

  /**
   * Fills `target` with the disk's content from `offsetBytes` on; any offset and length inside the disk.
   * What no file of the chain holds reads as zeros.
   *
   * @throws BackupError VHDX_RANGE_INVALID when the range passes the disk's end; VHDX_PARENT_REQUIRED when the
   *   content is a parent's and the image was opened without one
   */
  read(offsetBytes: number, target: Uint8Array): Promise<void>;

  /**
   * Ranges that may hold something other than zeros, over the whole chain: ascending, disjoint, merged where they
   * touch. Costs nothing per unallocated byte.
   */
  allocatedRanges(within?: ByteRange): AsyncIterable<ByteRange>;
}

/** One VHDX file, with its parents below it when it was opened with them. */
export interface VhdxImage extends VirtualDisk {
  /** Identity of the content: a child names its parent by it. */
  readonly dataWriteGuid: Guid;
  readonly hasParent: boolean;

  /**
   * Ranges about which this file alone decides, whatever its parent holds: what it stores, and what it declares to be
   * zero. For a checkpoint's differencing file this is what changed since it was made. Ascending, disjoint, merged.
   */
  ownRanges(within?: ByteRange): AsyncIterable<ByteRange>;

  /** Metadata beyond the specification's items that belongs to the virtual disk and goes along with it. */
  diskItems(): Promise<readonly DiskItem[]>;
}

/** A metadata item with its content. */
export interface DiskItem {
  readonly id: Guid;
  readonly isUser: boolean;
  readonly isRequired: boolean;
  readonly bytes: Uint8Array;
}
