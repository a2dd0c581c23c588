/**
 * Every error code that can reach a person, with what it means and what to do.
 * Codes are stable: they are never renamed and never change their meaning. docs/errors.md is made from this table.
 * One block per room; keep each block in alphabetical order.
 */
export const ERROR_CODES = {
  // any room
  INTERNAL: "A defect of this program. Report it with the run record; nothing was deleted.",
  INPUT_INVALID:
    "A value from outside does not have the expected form. Correct the field that the message names.",
  CANCELLED: "The work was stopped on request. Start it again when wanted.",

  // vhdx

  // repository

  // restore

  // relay

  // agent

  // simulated-host

  // orchestration and functions

  // local-host

  // cli
} as const satisfies Record<string, string>;

export type BackupErrorCode = keyof typeof ERROR_CODES;
