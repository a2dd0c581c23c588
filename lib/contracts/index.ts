export * from "./byte-range.ts";
