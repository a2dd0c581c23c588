export * from "./agent-operation.ts";
export * from "./byte-range.ts";
export * from "./change-source.ts";
export * from "./consistency.ts";
export * from "./error-document.ts";
export * from "./ids.ts";
export * from "./reference-point.ts";
