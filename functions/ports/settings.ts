import * as z from "zod";
import { GuestCluster } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import { parseSchedule } from "../../lib/orchestration/index.ts";

/** A JSON document in an application setting. */
function json<T extends z.ZodType>(schema: T) {
  return z
    .string()
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text);
      } catch {
        // The parser's own words would quote the value, which can be a secret.
        context.addIssue({ code: "custom", message: "is not JSON" });
        return z.NEVER;
      }
    })
    .pipe(schema);
}

const GuestClusters = z
  .array(GuestCluster)
  .refine(
    (list) => new Set(list.map(({ id }) => id)).size === list.length,
    "two guest clusters have the same id",
  );

/** The application settings of the function app; infra/ and `npm start` set them, docs/settings.md explains each. */
const Settings = z.object({
  /** Names this control plane towards others that might hold the same guest cluster. */
  TASKHUB_NAME: z.string().min(1),
  /** `https://ACCOUNT.blob.core.windows.net/CONTAINER`, or `directory:/path` in the embedded mode. */
  GCB_REPOSITORY_URL: z.string().min(1),
  /** A storage connection string; without it the managed identity is used. */
  GCB_REPOSITORY_CONNECTION: z.string().min(1).optional(),
  /** `gcbc1_…` from `gcb repo keys`: commits manifests, reads no data. */
  GCB_CONTROL_PLANE_KEY: z.string().min(1),
  /** Ed25519 private key (JWK) that signs agent commands. */
  GCB_COMMAND_KEY: json(z.looseObject({ kty: z.literal("OKP"), crv: z.literal("Ed25519") })),
  /** `https://NAMESPACE.servicebus.windows.net` */
  GCB_RELAY_ENDPOINT: z.url(),
  /** Name and key of a Send rule; without them the managed identity is used. */
  GCB_RELAY_KEY_NAME: z.string().min(1).optional(),
  GCB_RELAY_KEY: z.string().min(1).optional(),
  GCB_GUEST_CLUSTERS: json(GuestClusters),
});
export type Settings = z.infer<typeof Settings>;

/**
 * Reads the application settings.
 *
 * @throws BackupError SETTINGS_INVALID naming every wrong setting at once, without its value: values can be secrets
 */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const parsed = Settings.safeParse(env);
  if (!parsed.success) {
    const causes = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
    throw new BackupError("SETTINGS_INVALID", `application settings cannot be used: ${causes.join("; ")}`, {
      retry: "after-operator",
    });
  }
  for (const cluster of parsed.data.GCB_GUEST_CLUSTERS) {
    if (cluster.schedule !== undefined) parseSchedule(cluster.id, cluster.schedule, cluster.timeZone);
  }
  return parsed.data;
}
