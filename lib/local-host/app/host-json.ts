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

const DurableTask = z.object({
  hubName: z.string().default("TestHubName"),
  defaultVersion: z.string().optional(),
  versionMatchStrategy: z.enum(["None", "Strict", "CurrentOrOlder"]).default("CurrentOrOlder"),
  versionFailureStrategy: z.enum(["Reject", "Fail"]).default("Reject"),
  maxConcurrentActivityFunctions: z.int().positive().default(defaultConcurrency),
  maxConcurrentOrchestratorFunctions: z.int().positive().default(defaultConcurrency),
  maxConcurrentEntityFunctions: z.int().positive().default(defaultConcurrency),
  maxEntityOperationBatchSize: z.int().positive().default(50),
  maxOrchestrationActions: z.int().positive().default(100_000),
  httpSettings: z
    .object({ defaultAsyncRequestSleepTimeMilliseconds: z.int().positive().default(30_000) })
    .prefault({}),
});
export type DurableTaskSettings = z.infer<typeof DurableTask>;

const HostJson = z.object({
  version: z.literal("2.0").default("2.0"),
  functionTimeout: z.union([z.literal("-1").transform(() => undefined), TimeSpan]).optional(),
  extensions: z
    .object({
      http: z
        .object({
          routePrefix: z.string().default("api"),
          maxRequestBodySizeBytes: z.int().positive().optional(),
        })
        .prefault({}),
      durableTask: DurableTask.prefault({}),
    })
    .prefault({}),
});
export type HostJson = z.infer<typeof HostJson>;

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
  const json = parseJsonFile(file, text, HostJson);
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
