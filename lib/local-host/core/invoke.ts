import { randomUUID } from "node:crypto";
import type { LogSink } from "../log.ts";
import { toLogLevel } from "../log.ts";
import type { FunctionRegistry, RegisteredFunction } from "./function-registry.ts";
import type { CoreInvocationContext, InvocationRequest, InvocationResponse, TypedData } from "./rpc.ts";

export interface Invocation {
  readonly invocationId: string;
  readonly response: InvocationResponse;
  /** The context object that the handler got: durable-functions leaves its executor there. */
  readonly context: unknown;
  /** What the handler returned, before it was made into JSON. */
  readonly result: unknown;
}

/** Carries the handler's context beside the error that it threw. */
export class InvocationError extends Error {
  override readonly name = "InvocationError";
  readonly context: unknown;

  constructor(cause: unknown, context: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.context = context;
  }
}

/**
 * Calls one function through the library's own programming model, with the app's hooks around it.
 *
 * @throws InvocationError whatever the handler or a hook threw, as `cause`
 */
export async function invoke(
  registry: FunctionRegistry,
  fn: RegisteredFunction,
  request: InvocationRequest,
  sink: LogSink,
): Promise<Invocation> {
  const { model, hooks } = registry;
  if (model === undefined)
    throw new InvocationError(new Error("The app has no programming model."), undefined);
  const invocationId = randomUUID();
  let invocationContext: unknown;
  const core: CoreInvocationContext = {
    invocationId,
    metadata: fn.metadata,
    request,
    log(level, category, message) {
      const entry = { level, message, category, invocationContext };
      for (const hook of hooks.log) hook(entry);
      sink({
        level: toLogLevel(entry.level),
        category: category === "user" || category === "customMetric" ? category : "system",
        message: entry.message,
        functionName: fn.metadata.name,
        invocationId,
      });
    },
  };
  try {
    const invocation = await model.getInvocationModel(core);
    const { context, inputs } = await invocation.getArguments();
    invocationContext = context;
    const hookData = {};
    const before = { hookData, inputs, functionCallback: fn.callback, invocationContext: context };
    core.state = "preInvocationHooks";
    for (const hook of hooks.preInvocation) await hook(before);
    const after = {
      hookData,
      inputs: before.inputs,
      result: undefined as unknown,
      error: undefined as unknown,
      invocationContext: context,
    };
    core.state = "invocation";
    try {
      after.result = await invocation.invokeFunction(context, before.inputs, before.functionCallback);
    } catch (error) {
      after.error = error ?? new Error("The function threw nothing.");
    }
    core.state = "postInvocationHooks";
    for (const hook of hooks.postInvocation) await hook(after);
    if (after.error !== undefined && after.error !== null) throw after.error as Error;
    const response = await invocation.getResponse(context, after.result);
    return { invocationId, response, context, result: after.result };
  } catch (error) {
    throw new InvocationError(error, invocationContext);
  }
}

/** The JSON text of a tagged value; what is absent becomes `null`, bytes become base64 as .NET writes them. */
export function typedDataToJson(data: TypedData | null | undefined): string {
  if (data === null || data === undefined) return "null";
  if (typeof data.json === "string") return data.json;
  if (typeof data.string === "string") return JSON.stringify(data.string);
  if (data.bytes !== undefined && data.bytes !== null)
    return JSON.stringify(Buffer.from(data.bytes).toString("base64"));
  return JSON.stringify(data.int ?? data.double ?? null);
}
