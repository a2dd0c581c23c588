import type { FunctionCaller } from "../core/function-caller.ts";
import type { RegisteredFunction } from "../core/function-registry.ts";
import type { HttpCookie, HttpData, TypedData } from "../core/rpc.ts";
import type { LogSink } from "../log.ts";
import type { Request, Response } from "./message.ts";

/** Calls an HTTP-triggered function and turns what it gives into an answer. A thrown error becomes 500 without a body. */
export async function callHttpFunction(
  caller: FunctionCaller,
  fn: RegisteredFunction,
  request: Request,
  parameters: Readonly<Record<string, string>>,
  log: LogSink,
): Promise<Response> {
  const http: HttpData = {
    method: request.method,
    url: request.url.href,
    headers: { ...request.headers },
    params: { ...parameters },
    ...(request.body.length > 0 ? { body: { bytes: request.body } } : {}),
  };
  try {
    const { response } = await caller.call(fn, { http });
    const answer = response.returnValue?.http;
    return answer === undefined || answer === null ? { status: 204 } : toResponse(answer);
  } catch (error) {
    const { cause = error } = error as Error;
    const text = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    log({
      level: "error",
      category: "host",
      functionName: fn.metadata.name,
      message: `Function '${fn.metadata.name}' failed: ${text}`,
    });
    return { status: 500 };
  }
}

function toResponse(http: HttpData): Response {
  const headers = Object.entries(http.headers ?? {}).map(([name, value]) => [name, value] as const);
  const cookies = (http.cookies ?? []).map((cookie) => ["set-cookie", formatCookie(cookie)] as const);
  const status = Number(http.statusCode ?? "200");
  return {
    status: status >= 100 && status <= 999 ? status : 500,
    headers: [...headers, ...cookies],
    body: bodyOf(http.body),
  };
}

function bodyOf(body: TypedData | null | undefined): Uint8Array | string | undefined {
  if (body === null || body === undefined) return undefined;
  if (body.bytes !== null && body.bytes !== undefined)
    return body.bytes.byteLength === 0 ? undefined : body.bytes;
  return body.string ?? body.json ?? undefined;
}

function formatCookie(cookie: HttpCookie): string {
  const parts = [`${cookie.name ?? ""}=${encodeURIComponent(cookie.value ?? "")}`];
  if (cookie.domain?.value !== undefined) parts.push(`Domain=${cookie.domain.value}`);
  if (cookie.path?.value !== undefined) parts.push(`Path=${cookie.path.value}`);
  const expires = cookie.expires?.value;
  if (expires !== undefined) {
    const date =
      typeof expires === "object" && !(expires instanceof Date)
        ? new Date((expires.seconds ?? 0) * 1000)
        : new Date(expires);
    parts.push(`Expires=${date.toUTCString()}`);
  }
  if (cookie.maxAge?.value !== undefined) parts.push(`Max-Age=${cookie.maxAge.value}`);
  if (cookie.secure?.value === true) parts.push("Secure");
  if (cookie.httpOnly?.value === true) parts.push("HttpOnly");
  const sameSite = { lax: "Lax", strict: "Strict", explicitNone: "None" }[cookie.sameSite ?? ""];
  if (sameSite !== undefined) parts.push(`SameSite=${sameSite}`);
  return parts.join("; ");
}
