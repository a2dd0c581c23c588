import * as z from "zod";

const Request = z.object({
  method: z.string(),
  uri: z.url({ protocol: /^https?$/ }),
  content: z.string().nullish(),
  headers: z.record(z.string(), z.unknown()).nullish(),
  tokenSource: z.unknown().optional(),
});

const LIMIT_MS = 100_000;

/**
 * Sends what `context.df.callHttp` asked for, once.
 *
 * @param requestJson a durable HTTP request
 * @returns `{statusCode, content, headers}` as JSON text; any status is an answer
 * @throws Error when no answer came within 100 s (the default of .NET's client), or a managed identity is asked for
 */
export async function sendHttpRequest(requestJson: string): Promise<string> {
  const request = Request.parse(JSON.parse(requestJson));
  if (request.tokenSource !== undefined && request.tokenSource !== null) {
    throw new Error(
      "callHttp with a token source needs a managed identity, which this host does not have; call an activity instead.",
    );
  }
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers ?? {})) {
    for (const each of Array.isArray(value) ? value : [value]) headers.append(name, String(each));
  }
  const body = /^(get|head)$/i.test(request.method) ? null : (request.content ?? null);
  if (body !== null && !headers.has("content-type")) headers.set("content-type", "application/json");
  const response = await fetch(request.uri, {
    method: request.method,
    headers,
    redirect: "manual",
    signal: AbortSignal.timeout(LIMIT_MS),
    body,
  });
  const content = await response.text();
  return JSON.stringify({
    statusCode: response.status,
    content,
    headers: Object.fromEntries(response.headers),
  });
}
