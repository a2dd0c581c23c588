import * as z from "zod";
import { InvocationError } from "../core/invoke.ts";
import type { Failure, FailureDetails } from "./events.ts";

/** What durable-functions puts into an error's message when the app set an exception properties provider. */
const SerializedFailure = z.object({
  errorType: z.string(),
  errorMessage: z.string(),
  isNonRetriable: z.boolean().default(false),
  properties: z.record(z.string(), z.unknown()).nullish(),
  stackTrace: z.string().nullish(),
});

/** The error that a handler threw. */
export function thrownBy(error: unknown): Error {
  const cause = error instanceof InvocationError ? error.cause : error;
  return cause instanceof Error ? cause : new Error(String(cause));
}

/** An activity's error as it goes into history: in the old shape always, in the typed shape when the app gave one. */
export function activityFailure(functionName: string, error: unknown): Failure {
  const thrown = thrownBy(error);
  const typed = parseSerialized(thrown.message);
  const message = typed?.ErrorMessage ?? thrown.message;
  return {
    reason: `Activity function '${functionName}' failed: ${message}`,
    details: typed?.StackTrace ?? (error instanceof InvocationError ? thrown.stack : undefined) ?? message,
    failureDetails: typed,
  };
}

function parseSerialized(message: string): FailureDetails | undefined {
  if (!message.startsWith("{")) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(message);
  } catch {
    return undefined;
  }
  const { success, data } = SerializedFailure.safeParse(value);
  if (!success) return undefined;
  return {
    ErrorType: data.errorType,
    ErrorMessage: data.errorMessage,
    StackTrace: data.stackTrace ?? undefined,
    IsNonRetriable: data.isNonRetriable,
    Properties: data.properties ?? undefined,
  };
}
