import * as z from "zod";

/** Numbers of the SDK's actions (ActionType). */
export const ActionType = {
  CallActivity: 0,
  CallActivityWithRetry: 1,
  CallSubOrchestrator: 2,
  CallSubOrchestratorWithRetry: 3,
  ContinueAsNew: 4,
  CreateTimer: 5,
  WaitForExternalEvent: 6,
  CallEntity: 7,
  CallHttp: 8,
  SignalEntity: 9,
  ScheduledSignalEntity: 10,
  WhenAny: 11,
  WhenAll: 12,
  LockEntities: 13,
  ReleaseEntities: 14,
} as const;

const RetryOptions = z.object({
  firstRetryIntervalInMilliseconds: z.number().positive(),
  maxNumberOfAttempts: z.number(),
  backoffCoefficient: z.number().nullish(),
  maxRetryIntervalInMilliseconds: z.number().nullish(),
  retryTimeoutInMilliseconds: z.number().nullish(),
});
export type RetryOptions = z.infer<typeof RetryOptions>;

const HttpRequest = z.object({
  method: z.string(),
  uri: z.string(),
  content: z.string().nullish(),
  headers: z.record(z.string(), z.unknown()).nullish(),
  tokenSource: z.unknown().optional(),
  asynchronousPatternEnabled: z.boolean().default(true),
});
export type DurableHttpRequest = z.infer<typeof HttpRequest>;

const Instant = z.union([z.string(), z.date()]).transform((value, context) => {
  const ms = new Date(value).getTime();
  if (Number.isFinite(ms)) return ms;
  context.addIssue({ code: "custom", message: "a timer's fireAt is not a valid date" });
  return z.NEVER;
});

const EntityTarget = { instanceId: z.string(), operation: z.string(), input: z.unknown().optional() };
const CallTarget = { functionName: z.string().min(1), input: z.unknown().optional() };
const SubTarget = { ...CallTarget, instanceId: z.string().nullish(), version: z.string().nullish() };

export type Action =
  | { readonly actionType: 0; readonly functionName: string; readonly input?: unknown }
  | {
      readonly actionType: 1;
      readonly functionName: string;
      readonly input?: unknown;
      readonly retryOptions: RetryOptions;
    }
  | SubAction<2>
  | (SubAction<3> & { readonly retryOptions: RetryOptions })
  | { readonly actionType: 4; readonly input?: unknown }
  | { readonly actionType: 5; readonly fireAt: number; readonly isCanceled: boolean }
  | { readonly actionType: 6; readonly externalEventName: string }
  | {
      readonly actionType: 7 | 9;
      readonly instanceId: string;
      readonly operation: string;
      readonly input?: unknown;
    }
  | { readonly actionType: 8; readonly httpRequest: DurableHttpRequest }
  | {
      readonly actionType: 10;
      readonly instanceId: string;
      readonly operation: string;
      readonly input?: unknown;
      readonly fireAt: number;
    }
  | { readonly actionType: 11 | 12; readonly compoundActions: readonly Action[] }
  | {
      readonly actionType: 13;
      readonly lockRequestId: string;
      readonly lockSet: readonly { readonly name: string; readonly key: string }[];
    }
  | { readonly actionType: 14 };

interface SubAction<T extends 2 | 3> {
  readonly actionType: T;
  readonly functionName: string;
  readonly input?: unknown;
  readonly instanceId?: string | null | undefined;
  readonly version?: string | null | undefined;
}

const Action: z.ZodType<Action> = z.lazy(() =>
  z.discriminatedUnion("actionType", [
    z.object({ actionType: z.literal(0), ...CallTarget }),
    z.object({ actionType: z.literal(1), ...CallTarget, retryOptions: RetryOptions }),
    z.object({ actionType: z.literal(2), ...SubTarget }),
    z.object({ actionType: z.literal(3), ...SubTarget, retryOptions: RetryOptions }),
    z.object({ actionType: z.literal(4), input: z.unknown().optional() }),
    z.object({ actionType: z.literal(5), fireAt: Instant, isCanceled: z.boolean().default(false) }),
    z.object({ actionType: z.literal(6), externalEventName: z.string() }),
    z.object({ actionType: z.literal([7, 9]), ...EntityTarget }),
    z.object({ actionType: z.literal(8), httpRequest: HttpRequest }),
    z.object({ actionType: z.literal(10), ...EntityTarget, fireAt: Instant }),
    z.object({ actionType: z.literal([11, 12]), compoundActions: z.array(Action) }),
    z.object({
      actionType: z.literal(13),
      lockRequestId: z.string(),
      lockSet: z.array(z.object({ name: z.string(), key: z.string() })).min(1),
    }),
    z.object({ actionType: z.literal(14) }),
  ]),
);

/** What the SDK answers for one episode: every action since the start of this execution, and whether it is over. */
export const OrchestratorReply = z.object({
  isDone: z.boolean(),
  actions: z.array(z.array(Action)),
  output: z.unknown().optional(),
  error: z.string().nullish(),
  customStatus: z.unknown().optional(),
  failureDetails: z
    .object({
      ErrorType: z.string().default("Error"),
      ErrorMessage: z.string().default(""),
      StackTrace: z
        .string()
        .nullish()
        .transform((text) => text ?? undefined),
      IsNonRetriable: z.boolean().default(false),
      Properties: z
        .record(z.string(), z.unknown())
        .nullish()
        .transform((map) => map ?? undefined),
    })
    .nullish(),
});
export type OrchestratorReply = z.infer<typeof OrchestratorReply>;

/**
 * Tells which actions are one and the same task, in document order (a composite before its children).
 *
 * JSON loses this, but a task that is put into a second composite shares its action object with the first.
 */
export function labelActions(live: unknown): number[] {
  const labels = new Map<unknown, number>();
  const order: number[] = [];
  const visit = (action: unknown): void => {
    const label = labels.get(action) ?? labels.size;
    labels.set(action, label);
    order.push(label);
    const children =
      typeof action === "object" && action !== null
        ? (action as { compoundActions?: unknown }).compoundActions
        : undefined;
    if (Array.isArray(children)) children.forEach(visit);
  };
  if (Array.isArray(live)) live.forEach(visit);
  return order;
}
