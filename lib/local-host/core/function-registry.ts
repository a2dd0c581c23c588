import {
  HOOK_NAMES,
  type FunctionCallback,
  type FunctionMetadata,
  type HookCallback,
  type HookName,
  type ProgrammingModel,
} from "./rpc.ts";

export interface RegisteredFunction {
  readonly metadata: FunctionMetadata;
  readonly callback: FunctionCallback;
  readonly triggerName: string;
  /** Lower case, such as `httptrigger`. */
  readonly triggerType: string;
}

/** The functions and hooks of one app, filled while its entry points load and closed afterwards. */
export class FunctionRegistry {
  readonly functions = new Map<string, RegisteredFunction>();
  readonly hooks: Record<HookName, HookCallback[]> = {
    preInvocation: [],
    postInvocation: [],
    appStart: [],
    appTerminate: [],
    log: [],
  };
  model: ProgrammingModel | undefined;
  /** Whether the app asked for streamed HTTP bodies (`app.setup({ enableHttpStream: true })`). */
  wantsHttpStreams = false;
  #isOpen = true;

  /** Ends registration: the real worker refuses functions that come after start-up. */
  close(): void {
    this.#isOpen = false;
  }

  /** @throws Error when the name is taken (Functions compares names without case), or start-up has ended */
  addFunction(metadata: FunctionMetadata, callback: FunctionCallback): void {
    if (!this.#isOpen) {
      throw new Error(`A function can only be registered during app startup: "${metadata.name}".`);
    }
    const key = metadata.name.toLowerCase();
    if (this.functions.has(key)) {
      throw new Error(`A function with name "${metadata.name}" has already been registered.`);
    }
    const trigger = Object.entries(metadata.bindings).find(([, binding]) => /trigger$/i.test(binding.type));
    if (trigger === undefined) throw new Error(`Function "${metadata.name}" has no trigger.`);
    const [triggerName, { type }] = trigger;
    this.functions.set(key, { metadata, callback, triggerName, triggerType: type.toLowerCase() });
  }

  addHook(name: string, callback: HookCallback): () => void {
    const known = HOOK_NAMES.find((hook) => hook === name);
    if (known === undefined) {
      throw Object.assign(new RangeError(`Unrecognized hook "${name}"`), {
        isAzureFunctionsSystemError: true,
      });
    }
    const list = this.hooks[known];
    list.push(callback);
    return () => {
      const at = list.indexOf(callback);
      if (at >= 0) list.splice(at, 1);
    };
  }

  find(name: string, triggerType: string): RegisteredFunction | undefined {
    const found = this.functions.get(name.toLowerCase());
    return found?.triggerType === triggerType ? found : undefined;
  }

  ofType(triggerType: string): RegisteredFunction[] {
    return [...this.functions.values()].filter((each) => each.triggerType === triggerType);
  }
}
