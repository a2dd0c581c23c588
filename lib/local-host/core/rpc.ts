/** The tagged values and records that pass between `@azure/functions` and its host (the worker's gRPC shapes). */
export interface TypedData {
  string?: string | null;
  json?: string | null;
  bytes?: Uint8Array | null;
  http?: HttpData | null;
  int?: number | null;
  double?: number | null;
}

export interface HttpData {
  method?: string;
  url?: string;
  headers?: Record<string, string>;
  params?: Record<string, string>;
  query?: Record<string, string>;
  body?: TypedData | null | undefined;
  statusCode?: string;
  cookies?: HttpCookie[];
  enableContentNegotiation?: boolean;
}

export interface HttpCookie {
  name?: string;
  value?: string;
  domain?: { value?: string } | undefined;
  path?: { value?: string } | undefined;
  expires?: { value?: Date | string | number | { seconds?: number } } | undefined;
  secure?: { value?: boolean } | undefined;
  httpOnly?: { value?: boolean } | undefined;
  sameSite?: string;
  maxAge?: { value?: number } | undefined;
}

export interface BindingInfo extends Record<string, unknown> {
  type: string;
  direction?: string;
}

export interface FunctionMetadata {
  name: string;
  bindings: Record<string, BindingInfo>;
  retryOptions?: RetryMetadata | undefined;
}

export interface RetryMetadata {
  maxRetryCount?: number;
  retryStrategy?: string;
  delayInterval?: { seconds?: number } | undefined;
  minimumInterval?: { seconds?: number } | undefined;
  maximumInterval?: { seconds?: number } | undefined;
}

export interface InvocationRequest {
  inputData: { name: string; data: TypedData | null }[];
  triggerMetadata: Record<string, TypedData>;
  retryContext?: { retryCount: number; maxRetryCount: number; exception?: { message: string } };
}

export interface InvocationResponse {
  outputData?: { name: string; data: TypedData }[];
  returnValue?: TypedData | null | undefined;
}

/** What `model.getInvocationModel` gives: one function call in three steps. */
export interface InvocationModel {
  getArguments(): Promise<{ context: unknown; inputs: unknown[] }>;
  invokeFunction(context: unknown, inputs: unknown[], callback: FunctionCallback): Promise<unknown>;
  getResponse(context: unknown, result: unknown): Promise<InvocationResponse>;
}

export interface ProgrammingModel {
  name: string;
  version: string;
  getInvocationModel(coreContext: CoreInvocationContext): InvocationModel | Promise<InvocationModel>;
  getCapabilities(capabilities: Record<string, string>): Promise<Record<string, string>>;
}

export interface CoreInvocationContext {
  invocationId: string;
  metadata: FunctionMetadata;
  request: InvocationRequest;
  state?: "preInvocationHooks" | "postInvocationHooks" | "invocation";
  log(level: string, category: string, message: string): void;
}

export type FunctionCallback = (...args: unknown[]) => unknown;
export type HookCallback = (context: Record<string, unknown>) => unknown;
export const HOOK_NAMES = ["preInvocation", "postInvocation", "appStart", "appTerminate", "log"] as const;
export type HookName = (typeof HOOK_NAMES)[number];
