import { BackupError } from "../errors/index.ts";

/** An object whose bytes are not what was written. */
export function damaged(name: string, part: string, cause?: unknown): BackupError {
  return new BackupError(
    "REPOSITORY_OBJECT_DAMAGED",
    `${name} is damaged (${part}); nothing of it was used. Restore another restore point, or bring the object back from a copy`,
    { facts: { object: name, part }, ...(cause === undefined ? {} : { cause }) },
  );
}

/** An object that others name and that is not there. */
export function missing(name: string): BackupError {
  return new BackupError(
    "REPOSITORY_OBJECT_MISSING",
    `${name} is missing; restore points that need it cannot be restored. Bring the object back from a copy`,
    { facts: { object: name } },
  );
}
