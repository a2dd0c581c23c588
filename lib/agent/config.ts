import { readFile } from "node:fs/promises";
import { isAbsolute } from "node:path";
import * as z from "zod";
import { AgentId } from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";

const AbsolutePath = z.string().refine(isAbsolute, "must be an absolute path");

const PublicKey = z
  .looseObject({ kty: z.literal("OKP"), crv: z.literal("Ed25519"), x: z.string().min(1) })
  .refine((key) => !("d" in key), "is a private key; put only the public half here");

/** The agent's configuration file (docs/agent.md explains each field). Secrets are in files of their own where possible. */
export const AgentConfig = z.strictObject({
  agentId: AgentId,
  /** Journal, lock and change lists. Nothing else may use it. */
  dataDirectory: AbsolutePath,
  relay: z.strictObject({
    /** `https://NAMESPACE.servicebus.windows.net` */
    endpoint: z.string(),
    path: z.string().min(1),
    /** With `key` or `keyFile`; without, `entra: true` uses the machine's identity. */
    keyName: z.string().min(1).optional(),
    key: z.string().min(1).optional(),
    keyFile: AbsolutePath.optional(),
    entra: z.literal(true).optional(),
  }),
  controlPlanePublicKeys: z.array(PublicKey).min(1),
  /** File with `gcbw1_…`, from `gcb repo keys`. */
  repositoryWriterKeyFile: AbsolutePath,
  restore: z
    .strictObject({
      /** Restores go below one of these folders only. */
      roots: z.array(AbsolutePath),
      /** Without it this agent cannot read the repository, and refuses restores. */
      passphraseFile: AbsolutePath.optional(),
    })
    .default({ roots: [] }),
  host: z.discriminatedUnion("kind", [
    z.strictObject({ kind: z.literal("hyper-v"), settings: z.record(z.string(), z.unknown()).optional() }),
    z.strictObject({ kind: z.literal("simulated"), url: z.url() }),
  ]),
  /** A run without any call of its control plane for this long is undone. Milliseconds. */
  runExpiryMs: z
    .int()
    .min(1_000)
    .default(30 * 60_000),
  /** Disks read and shipped at once. */
  parallelDisks: z.int().min(1).max(16).default(2),
  mergeWaitMs: z.int().min(0).default(60_000),
});
export type AgentConfig = z.infer<typeof AgentConfig>;

/** @throws BackupError AGENT_CONFIG_INVALID naming every wrong field, never its value */
export async function readAgentConfig(file: string): Promise<AgentConfig> {
  let document: unknown;
  try {
    document = JSON.parse(await readFile(file, "utf8"));
  } catch (cause) {
    const why = cause instanceof SyntaxError ? "it is not JSON" : String(cause);
    throw invalid(file, why);
  }
  const parsed = AgentConfig.safeParse(document);
  if (parsed.success) return parsed.data;
  throw invalid(file, z.prettifyError(parsed.error));
}

function invalid(file: string, why: string): BackupError {
  return new BackupError(
    "AGENT_CONFIG_INVALID",
    `the configuration ${file} is not valid: ${why}; correct it and start again`,
    {
      ...{ retry: "after-operator", facts: { file } },
    },
  );
}
