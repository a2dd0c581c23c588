export * from "./backup-error.ts";
export { ERROR_CODES, type BackupErrorCode } from "./codes.ts";
