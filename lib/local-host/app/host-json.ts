import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import * as z from "zod";
import { parseTimeSpan } from "./durations.ts";
import { isMissingFile, parseJsonFile, resolveSettings } from "./settings.ts";

const TimeSpan = z.string().transform((text, context) => {
  const milliseconds = parseTimeSpan(text);
  if (milliseconds !== undefined) return milliseconds;
  context.addIssue({ code: "custom", message: `"${text}" is not a time span such as 00:05:00` });
  return z.NEVER;
});

/** Azure's default: ten times the cores. Activities of Node wait far more than they compute. */
const defaultConcurrency = 10 * availableParallelism();

/** A count; text is read as a number, because overrides from settings are texts. */
const Count = z.coerce.number().int().positive();

const DurableTask = z.object({
  hubName: z.string().default("TestHubName"),
  defaultVersion: z.string().optional(),
  versionMatchStrategy: z.enum(["None", "Strict", "CurrentOrOlder"]).default("CurrentOrOlder"),
  versionFailureStrategy: z.enum(["Reject", "Fail"]).default("Reject"),
  maxConcurrentActivityFunctions: Count.default(defaultConcurrency),
  maxConcurrentOrchestratorFunctions: Count.default(defaultConcurrency),
  maxConcurrentEntityFunctions: Count.default(defaultConcurrency),
  maxEntityOperationBatchSize: Count.default(50),
  maxOrchestrationActions: Count.default(100_000),
  httpSettings: z.object({ defaultAsyncRequestSleepTimeMilliseconds: Count.default(30_000) }).prefault({}),
});
export type DurableTaskSettings = z.infer<typeof DurableTask>;

const HostJson = z.object({
  version: z.literal("2.0").default("2.0"),
  functionTimeout: z.union([z.literal("-1").transform(() => undefined), TimeSpan]).optional(),
  extensions: z
    .object({
      http: z.object({ routePrefix: z.string().default("api") }).prefault({}),
      durableTask: DurableTask.prefault({}),
    })
    .prefault({}),
});
export type HostJson = z.infer<typeof HostJson>;

/** The prefix of settings that override host.json, as in Azure: `AzureFunctionsJobHost__extensions__http__routePrefix`. */
const OVERRIDE = /^AzureFunctionsJobHost__(.+)$/i;

function withOverrides(value: unknown, settings: Readonly<Record<string, string>>): unknown {
  const root: Record<string, unknown> = isRecord(value) ? structuredClone(value) : {};
  for (const [name, text] of Object.entries(settings)) {
    const names = OVERRIDE.exec(name)?.[1]?.split("__") ?? [];
    const last = names.pop();
    if (last === undefined) continue;
    let node = root;
    for (const each of names) {
      const next = node[each];
      if (isRecord(next)) node = next;
      else node = node[each] = {};
    }
    node[last] = text;
  }
  return root;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * host.json with defaults filled in and `%NAME%` replaced; what this host does not know is left aside.
 *
 * @throws BackupError HOST_APP_INVALID
 */
export async function readHostJson(
  appDirectory: string,
  settings: Readonly<Record<string, string>>,
): Promise<HostJson> {
  const file = path.join(appDirectory, "host.json");
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (isMissingFile(error)) return "{}";
    throw error;
  });
  const raw = parseJsonFile(file, text, z.unknown());
  const json = parseJsonFile(file, JSON.stringify(withOverrides(raw, settings)), HostJson);
  const { durableTask } = json.extensions;
  durableTask.hubName = resolveSettings(durableTask.hubName, settings, `${file} (durableTask.hubName)`);
  if (durableTask.defaultVersion !== undefined) {
    durableTask.defaultVersion = resolveSettings(
      durableTask.defaultVersion,
      settings,
      `${file} (defaultVersion)`,
    );
  }
  return json;
}
