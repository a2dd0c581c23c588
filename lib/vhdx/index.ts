/**
 * The VHDX format ([MS-VHDX] v8.0), read and write, over a byte-range port.
 *
 * - `openVhdx` one file, `openChain` a leaf with its parents: read only, the log replayed in memory.
 * - `createVhdx`, `createDifferencing`: new empty disks. `createVhdxStream`: a new dynamic disk from a stream of data.
 * - `openVhdxForWrite`: the guest's write path, with metadata through the log.
 * - `mergeIntoParent`, `setParent`: what ends and re-ties a checkpoint.
 * - `checkVhdx`: every defect of a file. `readVhdxInfo`: what its structures say. `copyAllocated`: all that is not zero.
 *
 * `byteFileOf` makes the port of a FileHandle, `memoryFile` of nothing at all.
 */
export { byteFileOf, memoryFile, type ByteFile, type ByteReader, type FileHandleLike } from "./byte-file.ts";
export { openChain, type ChainOptions, type DiskChain, type OpenByName } from "./chain.ts";
export { checkVhdx } from "./check.ts";
export { copyAllocated, type CopyOptions } from "./copy.ts";
export { createDifferencing, createVhdx, type NewDiskOptions, type ParentReference } from "./create.ts";
export type { Defect } from "./defects.ts";
export type { Guid } from "./guid.ts";
export { readVhdxInfo, type VhdxInfo } from "./info.ts";
export { mergeIntoParent, type MergeOptions } from "./merge.ts";
export { openVhdx } from "./open.ts";
export { setParent } from "./set-parent.ts";
export { createVhdxStream, type VhdxStream } from "./stream.ts";
export type { DiskItem, VhdxImage, VirtualDisk } from "./virtual-disk.ts";
export { openVhdxForWrite, type WritableVirtualDisk, type WriteOptions } from "./writer.ts";
