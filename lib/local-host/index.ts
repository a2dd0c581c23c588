export { startHost, type HostOptions, type RunningHost } from "./host.ts";
export type { FunctionListing } from "./http/function-routes.ts";
export { systemClock, VirtualClock, type Clock } from "./clock.ts";
export type { LogEntry, LogLevel, LogSink } from "./log.ts";
export type { Keys } from "./http/keys.ts";
