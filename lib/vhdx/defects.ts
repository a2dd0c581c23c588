import { BackupError, type BackupErrorCode, type ErrorFacts } from "../errors/index.ts";

/** Every rule of the format that a file can break, with the section of [MS-VHDX] that states it. */
export const DEFECT_SECTIONS = {
  VHDX_NOT_VHDX: "2.2.1",
  VHDX_FILE_TOO_SHORT: "2.2",
  VHDX_HEADERS_INVALID: "2.2.2",
  VHDX_HEADER_COPY_INVALID: "2.2.2",
  VHDX_VERSION_UNSUPPORTED: "2.2.2",
  VHDX_LOG_VERSION_UNSUPPORTED: "2.2.2",
  VHDX_LOG_PLACE_INVALID: "2.2.2",
  VHDX_LOG_BEYOND_FILE: "2.2.2",
  VHDX_REGION_TABLES_INVALID: "2.2.3",
  VHDX_REGION_TABLE_COPY_INVALID: "2.2.3",
  VHDX_REGION_COUNT_INVALID: "2.2.3.1",
  VHDX_REGION_PLACE_INVALID: "2.2.3.2",
  VHDX_REGION_BEYOND_FILE: "2.2.3.2",
  VHDX_REGION_DUPLICATE: "2.2.3.2",
  VHDX_REGION_UNKNOWN_REQUIRED: "2.2.3.2",
  VHDX_REGION_MISSING: "2.2.3.2",
  VHDX_REGION_NOT_REQUIRED: "2.2.3.2",
  VHDX_REGIONS_OVERLAP: "2.2.3.2",
  VHDX_LOG_SEQUENCE_MISSING: "2.3.3",
  VHDX_LOG_FILE_TRUNCATED: "2.3.3",
  VHDX_LOG_ENTRY_INVALID: "2.3.1.1",
  VHDX_LOG_FILE_SIZE_INVALID: "2.3.1.1",
  VHDX_LOG_DESCRIPTOR_INVALID: "2.3.1",
  VHDX_LOG_DATA_SECTOR_INVALID: "2.3.1.4",
  VHDX_LOG_ZERO_LENGTH_INVALID: "2.3.1.2",
  VHDX_LOG_TARGET_UNALIGNED: "2.3.1.3",
  VHDX_LOG_TARGET_IN_HEADERS: "2.3",
  VHDX_LOG_TARGET_IN_LOG: "2.3",
  VHDX_LOG_TARGET_BEYOND_LIMIT: "2.3.1.3",
  VHDX_LOG_TOO_COMPLEX: "2.3",
  VHDX_BAT_TOO_SMALL: "2.5",
  VHDX_BAT_RESERVED_NONZERO: "2.5.1",
  VHDX_BAT_OFFSET_INVALID: "2.5.1",
  VHDX_BAT_STATE_RESERVED: "2.5.1.1",
  VHDX_BAT_PARTIAL_WITHOUT_PARENT: "2.5.1.1",
  VHDX_BITMAP_STATE_RESERVED: "2.5.1.2",
  VHDX_BITMAP_WITHOUT_PARENT: "2.5.1.2",
  VHDX_BITMAP_MISSING: "2.5.1.2",
  VHDX_BLOCK_BEYOND_FILE: "2.5.1",
  VHDX_BLOCKS_OVERLAP: "2.5.1",
  VHDX_BLOCK_OVERLAPS_STRUCTURE: "2.5.1",
  VHDX_METADATA_TABLE_INVALID: "2.6.1.1",
  VHDX_METADATA_COUNT_INVALID: "2.6.1.1",
  VHDX_METADATA_RESERVED_NONZERO: "2.6.1",
  VHDX_METADATA_DUPLICATE: "2.6.1.2",
  VHDX_METADATA_PLACE_INVALID: "2.6.1.2",
  VHDX_METADATA_TOO_LONG: "2.6.1.2",
  VHDX_METADATA_OVERLAP: "2.6.1.2",
  VHDX_METADATA_TOO_MANY_USER_ITEMS: "2.6.1.2",
  VHDX_METADATA_UNKNOWN_REQUIRED: "2.6.1.2",
  VHDX_METADATA_MISSING: "2.6.2",
  VHDX_METADATA_LENGTH_INVALID: "2.6.2",
  VHDX_METADATA_FLAGS_INVALID: "2.6.2",
  VHDX_FILE_INCOMPLETE: "2.6.2",
  VHDX_BLOCK_SIZE_INVALID: "2.6.2.1",
  VHDX_FILE_PARAMETERS_RESERVED_NONZERO: "2.6.2.1",
  VHDX_DISK_SIZE_ZERO: "2.6.2.2",
  VHDX_DISK_SIZE_UNALIGNED: "2.6.2.2",
  VHDX_DISK_SIZE_TOO_LARGE: "2.6.2.2",
  VHDX_LOGICAL_SECTOR_INVALID: "2.6.2.4",
  VHDX_PHYSICAL_SECTOR_INVALID: "2.6.2.5",
  VHDX_LOCATOR_MISSING: "2.6.2.6",
  VHDX_LOCATOR_WITHOUT_PARENT: "2.6.2.6",
  VHDX_LOCATOR_TYPE_UNKNOWN: "2.6.2.6.1",
  VHDX_LOCATOR_RESERVED_NONZERO: "2.6.2.6.1",
  VHDX_LOCATOR_COUNT_INVALID: "2.6.2.6.1",
  VHDX_LOCATOR_ENTRY_INVALID: "2.6.2.6.2",
  VHDX_LOCATOR_KEY_DUPLICATE: "2.6.2.6.2",
  VHDX_LOCATOR_LINKAGE_INVALID: "2.6.2.6.3",
  VHDX_LOCATOR_PATH_MISSING: "2.6.2.6.3",
  VHDX_PARENT_OUTSIDE_FOLDER: "2.6.2.6.3",
  VHDX_PARENT_MISSING: "2.6.2.6.3",
  VHDX_PARENT_LINKAGE_MISMATCH: "2.6.2.6.3",
  VHDX_PARENT_SECTOR_SIZE_MISMATCH: "2.6.2.4",
  VHDX_CHAIN_CYCLE: "2.6.2.6",
  VHDX_CHAIN_TOO_LONG: "2.6.2.6",
} as const satisfies Partial<Record<BackupErrorCode, string>>;

export type DefectCode = keyof typeof DEFECT_SECTIONS;

/**
 * One broken rule. `refuse`: the file must not be used. `note`: the file departs from the letter in a way that
 * changes no content (docs/format/vhdx-notes.md says why it is accepted).
 */
export interface Defect {
  readonly code: DefectCode;
  /** Section of [MS-VHDX]. */
  readonly section: string;
  readonly severity: "refuse" | "note";
  readonly message: string;
}

/** Where parsers report what they find: opening stops at the first refusal, `check` goes on and lists all. */
export interface Inspector {
  /** A broken rule after which parsing can go on. Returns only when the inspector collects. */
  refuse(code: DefectCode, message: string, facts?: ErrorFacts): void;
  /** A broken rule that leaves nothing to go on with. */
  stop(code: DefectCode, message: string, facts?: ErrorFacts): never;
  note(code: DefectCode, message: string): void;
}

export function defectError(code: DefectCode, message: string, facts?: ErrorFacts): BackupError {
  const section = DEFECT_SECTIONS[code];
  return new BackupError(code, `${message} ([MS-VHDX] §${section}).`, { facts: { ...facts, section } });
}

/** Throws at the first refusal. */
export const strictInspector: Inspector = {
  refuse(code, message, facts) {
    throw defectError(code, message, facts);
  },
  stop(code, message, facts): never {
    throw defectError(code, message, facts);
  },
  note() {
    // opening accepts it
  },
};

/** Thrown by a collecting inspector's `stop`, after the defect is on the list. */
export class NothingToGoOnWith extends Error {
  override readonly name = "NothingToGoOnWith";
}

/** A hostile file can break one rule a million times; this many are listed. */
const MAX_LISTED = 1_000;

export function collectingInspector(found: Defect[]): Inspector {
  const add = (code: DefectCode, severity: Defect["severity"], message: string): void => {
    if (found.length < MAX_LISTED) found.push({ code, section: DEFECT_SECTIONS[code], severity, message });
  };
  return {
    refuse: (code, message) => {
      add(code, "refuse", message);
    },
    stop: (code, message): never => {
      add(code, "refuse", message);
      throw new NothingToGoOnWith(message);
    },
    note: (code, message) => {
      add(code, "note", message);
    },
  };
}
