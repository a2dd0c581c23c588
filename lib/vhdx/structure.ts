import { surveyBat, type BatSurvey } from "./bat-survey.ts";
import type { ByteReader } from "./byte-file.ts";
import type { Inspector } from "./defects.ts";
import { geometryOf, type Geometry } from "./geometry.ts";
import { readCurrentHeader, readFileIdentifier, type CurrentHeader } from "./header.ts";
import { HEADER_AREA_BYTES } from "./layout.ts";
import { readReplay, type Replay } from "./log-replay.ts";
import { readMetadata, type Metadata } from "./metadata.ts";
import { readRegionTable, type RegionTable } from "./region-table.ts";
import { replayedReader } from "./replayed-reader.ts";

/** Everything that the structures of one file say, checked. */
export interface Structure {
  readonly creator: string;
  readonly current: CurrentHeader;
  /** Present when the log is dirty. `reader` shows the file as it is after replay. */
  readonly replay?: Replay;
  readonly reader: ByteReader;
  readonly regionTable: RegionTable;
  readonly metadata: Metadata;
  readonly geometry: Geometry;
  readonly survey: BatSurvey;
}

/** Reads and checks all structures of a file in the order in which each can be trusted by the one before. */
export async function readStructure(file: ByteReader, inspector: Inspector): Promise<Structure> {
  const creator = await readFileIdentifier(file, inspector);
  const current = await readCurrentHeader(file, inspector);
  const replay = await readReplay(file, current.header, inspector);
  const reader = replay === undefined ? file : replayedReader(file, replay, inspector);
  const { logOffsetBytes, logLengthBytes } = current.header;
  const log = logLengthBytes === 0 ? [] : [{ offsetBytes: logOffsetBytes, lengthBytes: logLengthBytes }];
  const regionTable = await readRegionTable(reader, log, inspector);
  const metadata = await readMetadata(reader, regionTable.metadata, inspector);
  const geometry = geometryOf({
    diskBytes: metadata.diskBytes,
    blockBytes: metadata.blockBytes,
    sectorBytes: metadata.logicalSectorBytes,
    hasParent: metadata.hasParent,
  });
  if (geometry.batEntries * 8 > regionTable.bat.lengthBytes) {
    inspector.stop(
      "VHDX_BAT_TOO_SMALL",
      `the BAT region has ${regionTable.bat.lengthBytes} bytes, but ${geometry.batEntries} entries are needed`,
    );
  }
  const structures = [
    { offsetBytes: 0, lengthBytes: HEADER_AREA_BYTES },
    ...log,
    ...regionTable.regions.filter((each) => each.offsetBytes + each.lengthBytes <= reader.sizeBytes),
  ];
  const survey = await surveyBat(reader, regionTable.bat, geometry, structures, inspector);
  return {
    creator,
    current,
    ...(replay === undefined ? {} : { replay }),
    reader,
    regionTable,
    metadata,
    geometry,
    survey,
  };
}
