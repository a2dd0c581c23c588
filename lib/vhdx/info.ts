import type { ByteReader } from "./byte-file.ts";
import { strictInspector } from "./defects.ts";
import { STATE } from "./geometry.ts";
import type { Guid } from "./guid.ts";
import { readStructure } from "./structure.ts";
import type { VirtualDisk } from "./virtual-disk.ts";

/** What the structures of one file say, for people and programs that look at it. */
export interface VhdxInfo {
  readonly kind: VirtualDisk["kind"];
  readonly virtualSizeBytes: number;
  readonly fileBytes: number;
  readonly blockBytes: number;
  readonly logicalSectorBytes: number;
  readonly physicalSectorBytes: number;
  readonly diskId: Guid;
  readonly dataWriteGuid: Guid;
  readonly fileWriteGuid: Guid;
  /** Who made the file, as it says itself. */
  readonly creator: string;
  /** `dirty`: the entries of the active sequence were replayed in memory. */
  readonly log: { readonly state: "clean" | "dirty"; readonly lengthBytes: number; readonly entries: number };
  readonly blocks: {
    readonly total: number;
    readonly present: number;
    readonly partial: number;
    readonly zero: number;
    readonly unmapped: number;
    readonly undefined: number;
    readonly absent: number;
  };
  readonly parent: {
    readonly linkages: readonly Guid[];
    readonly relativePath: string | null;
    readonly volumePath: string | null;
    readonly absolutePath: string | null;
  } | null;
}

/** Reads one file's structures, without its parents. Throws what `openVhdx` throws. */
export async function readVhdxInfo(file: ByteReader): Promise<VhdxInfo> {
  const { creator, current, replay, metadata, geometry, survey } = await readStructure(file, strictInspector);
  const count = (state: number): number => survey.blocksByState[state] ?? 0;
  const locator = metadata.parentLocator;
  return {
    kind: metadata.hasParent ? "differencing" : metadata.leavesBlocksAllocated ? "fixed" : "dynamic",
    virtualSizeBytes: metadata.diskBytes,
    fileBytes: file.sizeBytes,
    blockBytes: metadata.blockBytes,
    logicalSectorBytes: metadata.logicalSectorBytes,
    physicalSectorBytes: metadata.physicalSectorBytes,
    diskId: metadata.diskId,
    dataWriteGuid: current.header.dataWriteGuid,
    fileWriteGuid: current.header.fileWriteGuid,
    creator,
    log: {
      state: replay === undefined ? "clean" : "dirty",
      lengthBytes: current.header.logLengthBytes,
      entries: replay?.entries ?? 0,
    },
    blocks: {
      total: geometry.payloadBlocks,
      present: count(STATE.fullyPresent),
      partial: count(STATE.partiallyPresent),
      zero: count(STATE.zero),
      unmapped: count(STATE.unmapped),
      undefined: count(STATE.undefined),
      absent: count(STATE.notPresent),
    },
    parent:
      locator === undefined
        ? null
        : {
            linkages: locator.linkages,
            relativePath: locator.relativePath ?? null,
            volumePath: locator.volumePath ?? null,
            absolutePath: locator.absolutePath ?? null,
          },
  };
}
