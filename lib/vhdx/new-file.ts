import type { ByteFile } from "./byte-file.ts";
import { defectError } from "./defects.ts";
import { geometryOf, type Geometry } from "./geometry.ts";
import { NIL_GUID, type Guid } from "./guid.ts";
import { encodeFileIdentifier, encodeHeader, type Header } from "./header.ts";
import { HEADER_OFFSETS, MIB, REGION_TABLE_OFFSETS } from "./layout.ts";
import { encodeMetadata, type NewMetadata } from "./metadata.ts";
import { BAT_REGION, encodeRegionTable, METADATA_REGION } from "./region-table.ts";
import { roundUp } from "./bytes.ts";

const CREATOR = "guest-cluster-backup";

/** Where things stand in a file that this room makes: as Windows places them. */
export const NEW_LOG = { offsetBytes: MIB, lengthBytes: MIB } as const;
export const NEW_METADATA = { offsetBytes: 2 * MIB, lengthBytes: MIB } as const;
export const NEW_BAT_OFFSET = 3 * MIB;

/** A file under construction. Until `seal` it has no header, and so is no VHDX file. */
export interface NewFile {
  readonly geometry: Geometry;
  readonly batOffsetBytes: number;
  /** First byte behind the BAT: where blocks may go. */
  readonly blocksOffsetBytes: number;
  /** Makes everything written so far stable, then writes tables and headers: from here on the file is whole. */
  seal(): Promise<void>;
}

/** Empties the file and lays out identifier, log, metadata and a BAT of zeros. */
export async function beginNewFile(
  file: ByteFile,
  metadata: NewMetadata,
  newGuid: () => Guid,
): Promise<NewFile> {
  const geometry = geometryOf({
    diskBytes: metadata.diskBytes,
    blockBytes: metadata.blockBytes,
    sectorBytes: metadata.logicalSectorBytes,
    hasParent: metadata.hasParent,
  });
  const batBytes = roundUp(geometry.batEntries * 8, MIB);
  const blocksOffsetBytes = NEW_BAT_OFFSET + batBytes;
  const items = encodeMetadata(metadata);
  if (items.length > NEW_METADATA.lengthBytes) {
    throw defectError(
      "VHDX_METADATA_TOO_LONG",
      `${items.length} bytes of metadata do not fit into a new file`,
    );
  }
  await file.resize(0);
  await file.resize(blocksOffsetBytes);
  await file.write(0, encodeFileIdentifier(CREATOR));
  await file.write(NEW_METADATA.offsetBytes, items);
  const regions = encodeRegionTable([
    { id: BAT_REGION, offsetBytes: NEW_BAT_OFFSET, lengthBytes: batBytes, isRequired: true },
    { id: METADATA_REGION, ...NEW_METADATA, isRequired: true },
  ]);
  return {
    geometry,
    batOffsetBytes: NEW_BAT_OFFSET,
    blocksOffsetBytes,
    async seal() {
      for (const offset of REGION_TABLE_OFFSETS) await file.write(offset, regions);
      await file.flush();
      const header: Header = {
        sequenceNumber: 1n,
        fileWriteGuid: newGuid(),
        dataWriteGuid: newGuid(),
        logGuid: NIL_GUID,
        logVersion: 0,
        version: 1,
        logLengthBytes: NEW_LOG.lengthBytes,
        logOffsetBytes: NEW_LOG.offsetBytes,
      };
      await file.write(HEADER_OFFSETS[0], encodeHeader(header));
      await file.write(HEADER_OFFSETS[1], encodeHeader({ ...header, sequenceNumber: 2n }));
      await file.flush();
    },
  };
}
