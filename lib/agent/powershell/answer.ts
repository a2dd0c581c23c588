import * as z from "zod";

/** What a script says when it fails. Everything may be missing or odd: it came through a pipe. */
export const ScriptError = z.object({
  code: z.string().max(100),
  message: z.string(),
  subject: z
    .string()
    .nullish()
    .transform((text) => text ?? ""),
  wmiReturnValue: z
    .number()
    .nullish()
    .transform((value) => value ?? -1),
  jobErrorCode: z
    .number()
    .nullish()
    .transform((value) => value ?? -1),
  jobErrorText: z
    .string()
    .nullish()
    .transform((text) => text ?? ""),
  remedy: z
    .string()
    .nullish()
    .transform((text) => text ?? ""),
});
export type ScriptError = z.infer<typeof ScriptError>;

const Answer = z.discriminatedUnion("ok", [
  z.object({ call: z.string(), ok: z.literal(true), value: z.unknown() }),
  z.object({ call: z.string(), ok: z.literal(false), error: ScriptError }),
]);
export type Answer = z.infer<typeof Answer>;

/**
 * Finds the one answer line of a call in everything the shell wrote. Other lines (warnings, banners, prompts) are skipped.
 *
 * @returns the answer, or in words why there is none
 */
export function readAnswer(stdout: string, call: string): Answer | string {
  const prefix = `{"call":"${call}",`;
  const lines = stdout.split(/\r?\n/).filter((line) => line.startsWith(prefix));
  const [line] = lines;
  if (line === undefined) return "the script wrote no answer";
  if (lines.length > 1) return `the script wrote ${lines.length} answers`;
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return "the answer is not JSON";
  }
  const parsed = Answer.safeParse(json);
  return parsed.success ? parsed.data : `the answer has an unknown form: ${z.prettifyError(parsed.error)}`;
}

/**
 * A list as Windows PowerShell 5.1 may write it: `null` for none, the thing itself for one, `{ value, Count }` for an array
 * that went through a pipeline.
 */
export function listOf<T extends z.ZodType>(item: T) {
  return z.pipe(z.transform(toList), z.array(item));
}

function toList(value: unknown): unknown[] {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value)) return value as unknown[];
  if (typeof value === "object" && "value" in value && "Count" in value && Array.isArray(value.value)) {
    return value.value as unknown[];
  }
  return [value];
}
