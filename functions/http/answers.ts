import type { HttpRequest, HttpResponseInit, InvocationContext } from "@azure/functions";
import type * as z from "zod";
import {
  BackupError,
  toErrorDocument,
  type BackupErrorCode,
  type ErrorDocument,
} from "../../lib/errors/index.ts";

const MAX_BODY_BYTES = 64 * 1024;

const STATUS_OF: Partial<Record<BackupErrorCode, number>> = {
  INPUT_INVALID: 400,
  GUEST_CLUSTER_BUSY: 409,
  GUEST_CLUSTER_UNKNOWN: 404,
  RESTORE_POINT_UNKNOWN: 404,
  RUN_UNKNOWN: 404,
};

export function json(status: number, body: unknown): HttpResponseInit {
  return { status, jsonBody: body };
}

/** Problem document (RFC 9457). What is not a refusal of ours says no more than that it failed; the log has the rest. */
export function problem(document: ErrorDocument): HttpResponseInit {
  const status = STATUS_OF[document.code] ?? 500;
  const detail =
    document.code === "INTERNAL"
      ? "The request failed; the log of the function app says why."
      : document.message;
  const body = {
    type: "about:blank",
    title: document.code,
    status,
    detail,
    ...document.facts,
    code: document.code,
  };
  return {
    status,
    headers: { "content-type": "application/problem+json" },
    body: JSON.stringify(body),
  };
}

export function withProblems(
  handler: (request: HttpRequest, context: InvocationContext) => Promise<HttpResponseInit>,
) {
  return async (request: HttpRequest, context: InvocationContext): Promise<HttpResponseInit> => {
    try {
      return await handler(request, context);
    } catch (error) {
      const document = toErrorDocument(error);
      if (STATUS_OF[document.code] === undefined) context.error(`${document.code}: ${document.message}`);
      return problem(document);
    }
  };
}

/** The JSON body; an empty body counts as `{}`. @throws BackupError INPUT_INVALID */
export async function parseBody<T extends z.ZodType>(request: HttpRequest, schema: T): Promise<z.output<T>> {
  const text = await request.text();
  if (Buffer.byteLength(text) > MAX_BODY_BYTES)
    throw invalid(`the body is longer than ${String(MAX_BODY_BYTES)} bytes`);
  let value: unknown;
  try {
    value = text.trim() === "" ? {} : JSON.parse(text);
  } catch {
    throw invalid("the body is not JSON");
  }
  return parse(schema, value, "body");
}

/** @throws BackupError INPUT_INVALID */
export function parseParameter<T extends z.ZodType>(
  request: HttpRequest,
  name: string,
  schema: T,
): z.output<T> {
  return parse(schema, request.params[name], name);
}

function parse<T extends z.ZodType>(schema: T, value: unknown, what: string): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const causes = parsed.error.issues.map(({ path, message }) => [what, ...path].join(".") + `: ${message}`);
  throw invalid(causes.join("; "));
}

function invalid(message: string): BackupError {
  return new BackupError("INPUT_INVALID", message);
}
