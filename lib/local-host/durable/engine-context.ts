import type { Busy } from "../busy.ts";
import type { DurableTaskSettings } from "../app/host-json.ts";
import type { Clock } from "../clock.ts";
import type { FunctionCaller } from "../core/function-caller.ts";
import type { FunctionRegistry } from "../core/function-registry.ts";
import type { LogSink } from "../log.ts";
import type { Database } from "./database.ts";
import type { InstanceStore } from "./store.ts";

/** What the parts of the durable engine share. */
export interface EngineContext {
  readonly db: Database;
  readonly store: InstanceStore;
  readonly registry: FunctionRegistry;
  readonly clock: Clock;
  readonly log: LogSink;
  readonly settings: DurableTaskSettings;
  readonly caller: FunctionCaller;
  /** How often a message may end with the death of the process before it is parked. */
  readonly maxDeliveries: number;
  readonly busy: Busy;
  /** Each tells a part that there is something new for it; call after the transaction that made it so. */
  readonly wake: {
    readonly instance: (id: string) => void;
    readonly entity: (id: string) => void;
    readonly work: () => void;
    /** A message with a later instant was added. */
    readonly timer: () => void;
  };
}
