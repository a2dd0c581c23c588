import Module from "node:module";
import { toLogLevel, type LogSink } from "../log.ts";
import { FunctionRegistry } from "./function-registry.ts";
import type { FunctionCallback, FunctionMetadata, HookCallback, ProgrammingModel } from "./rpc.ts";

/**
 * The module `@azure/functions-core`, which only exists inside a Functions worker: `@azure/functions` asks for it with
 * `require` when the first function is registered, and keeps the answer for the life of the process. So there is one
 * core per process; it forwards to the registry of the app that is being loaded.
 */
interface ProcessCore {
  target: FunctionRegistry | undefined;
  lastModel: ProgrammingModel | undefined;
  sink: LogSink | undefined;
}

const CORE_ID = "@azure/functions-core";
const STATE = Symbol.for("guest-cluster-backup.local-host.functions-core");

function processCore(): ProcessCore {
  // On globalThis, so that two copies of this module in one process share the one core.
  const holder = globalThis as unknown as Record<symbol, ProcessCore | undefined>;
  return (holder[STATE] ??= install({ target: undefined, lastModel: undefined, sink: undefined }));
}

function install(core: ProcessCore): ProcessCore {
  const api = {
    version: "4.0.0",
    hostVersion: "4.1000.0",
    Disposable: class {
      readonly #callOnDispose: () => unknown;
      constructor(callOnDispose: () => unknown) {
        this.#callOnDispose = callOnDispose;
      }
      dispose(): unknown {
        return this.#callOnDispose();
      }
    },
    setProgrammingModel(model: ProgrammingModel): void {
      core.lastModel = model;
      if (core.target !== undefined) core.target.model = model;
    },
    getProgrammingModel: (): ProgrammingModel | undefined => core.lastModel,
    registerFunction(metadata: FunctionMetadata, callback: FunctionCallback): void {
      if (core.target === undefined) {
        throw new Error(`A function can only be registered during app startup: "${metadata.name}".`);
      }
      core.target.addFunction(metadata, callback);
    },
    registerHook(name: string, callback: HookCallback): { dispose(): void } {
      const dispose = core.target?.addHook(name, callback);
      return { dispose: () => dispose?.() };
    },
    log(level: string, category: string, message: string): void {
      // The only sign of it before the library opens a port for the streams.
      if (message === "HTTP streaming enabled." && core.target !== undefined)
        core.target.wantsHttpStreams = true;
      core.sink?.({ level: toLogLevel(level), category: category === "system" ? "system" : "user", message });
    },
  };
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with the caller's `this` below
  const original = Module.prototype.require;
  Module.prototype.require = function (this: NodeJS.Module, id: string): unknown {
    return id === CORE_ID ? api : (original.call(this, id) as unknown);
  } as typeof original;
  return core;
}

let turn: Promise<unknown> = Promise.resolve();

/**
 * Runs `load` while everything that registers itself goes into a new registry. Loads take turns, because the library
 * cannot say which app is speaking.
 */
export function collectRegistrations(load: () => Promise<void>, sink: LogSink): Promise<FunctionRegistry> {
  const run = async (): Promise<FunctionRegistry> => {
    const core = processCore();
    const registry = new FunctionRegistry();
    core.target = registry;
    core.sink = sink;
    try {
      await load();
    } finally {
      core.target = undefined;
      registry.close();
    }
    // A second app that shares the library's copy does not announce the model again.
    registry.model ??= core.lastModel;
    return registry;
  };
  const result = turn.then(run);
  turn = result.catch(() => undefined);
  return result;
}
