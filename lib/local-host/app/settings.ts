import { readFile } from "node:fs/promises";
import path from "node:path";
import * as z from "zod";
import { BackupError } from "../../errors/index.ts";

const LocalSettings = z.object({
  IsEncrypted: z.boolean().default(false),
  Values: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]).transform(String)).default({}),
});

/**
 * The app's settings: `Values` of local.settings.json, below the environment, below what the caller gives.
 *
 * @throws BackupError HOST_APP_INVALID when local.settings.json is not valid or is encrypted
 */
export async function readAppSettings(
  appDirectory: string,
  given: Readonly<Record<string, string>>,
  environment: NodeJS.ProcessEnv,
): Promise<Record<string, string>> {
  const file = path.join(appDirectory, "local.settings.json");
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (isMissingFile(error)) return undefined;
    throw error;
  });
  const settings =
    text === undefined ? { IsEncrypted: false, Values: {} } : parseJsonFile(file, text, LocalSettings);
  if (settings.IsEncrypted) {
    throw new BackupError(
      "HOST_APP_INVALID",
      `${file} is encrypted; decrypt it with "func settings decrypt".`,
    );
  }
  const fromEnvironment = Object.entries(environment).filter(
    (pair): pair is [string, string] => pair[1] !== undefined,
  );
  return { ...settings.Values, ...Object.fromEntries(fromEnvironment), ...given };
}

/**
 * Replaces every `%NAME%` by the setting of that name.
 *
 * @throws BackupError HOST_APP_INVALID naming the setting that is missing and where it was used
 */
export function resolveSettings(
  text: string,
  settings: Readonly<Record<string, string>>,
  usedBy: string,
): string {
  return text.replaceAll(/%([^%\s]+)%/g, (_, name: string) => {
    const value = settings[name];
    if (value !== undefined) return value;
    throw new BackupError(
      "HOST_APP_INVALID",
      `${usedBy} uses the app setting "${name}", which is not set; set it in the environment or in local.settings.json.`,
      { retry: "after-operator", facts: { setting: name } },
    );
  });
}

export function isMissingFile(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

/** @throws BackupError HOST_APP_INVALID with the file and the first field that is wrong */
export function parseJsonFile<T>(file: string, text: string, schema: z.ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new BackupError("HOST_APP_INVALID", `${file} is not valid JSON; correct it.`, { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue?.path.join(".") ?? "";
  throw new BackupError(
    "HOST_APP_INVALID",
    `${file}: ${field}: ${issue?.message ?? "not valid"}; correct it.`,
    {
      cause: parsed.error,
    },
  );
}
