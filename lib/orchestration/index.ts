export * from "./poll-plan.ts";
export * from "./restore-point-draft.ts";
export * from "./run-end.ts";
export * from "./schedule.ts";
export * from "./task-failure.ts";
