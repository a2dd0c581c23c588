/** What changed on a disk: how it is found out, and ranges as plain values. */
export { chooseChangeSource, type ChangeSourceFacts } from "./choose-change-source.ts";
export { mergeRanges, totalBytes } from "./merge-ranges.ts";
