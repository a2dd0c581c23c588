import { BackupError } from "../../errors/index.ts";

/*
 * Scripts for diskshadow and what it prints (hyperv.md §2.3). Pure: text in, text out. Nothing gets into a script that is not
 * a checked path, a GUID or an alias of ours, since diskshadow has no quoting and runs `exec`.
 */

/** One volume of a storage snapshot, as Windows names it. */
export interface SnapshotVolume {
  /** Mount point with its trailing backslash: `D:\`, `C:\ClusterStorage\Volume1\`. */
  readonly directory: string;
  /** `\\?\Volume{GUID}\` */
  readonly deviceId: string;
  /** Folder on which its shadow copy is exposed; "" when it is not. */
  readonly mountPoint: string;
}

export interface CreateScriptOptions {
  /** `.cab` file for the writer metadata. */
  readonly metadataPath: string;
  /** GUID of the provider; absent: the host's order. */
  readonly provider?: string | undefined;
  /** Whether volumes get an alias; the ids are found without one too. */
  readonly useAlias: boolean;
}

const GUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const PLAIN_PATH = /^[A-Za-z]:\\[A-Za-z0-9._\\-]*$/;
const VOLUME_NAME = /^\\\\\?\\Volume\{[0-9a-f-]{36}\}\\$/i;

/**
 * ONE storage snapshot of all volumes. Persistent, since it outlives the diskshadow that made it; `nowriters`, since the
 * recovery checkpoint has already made the guests consistent and the host's writers would checkpoint them again.
 */
export function renderCreateScript(volumes: readonly SnapshotVolume[], options: CreateScriptOptions): string {
  if (volumes.length === 0) throw refused("no volume", "name at least one disk");
  const provider = options.provider === undefined ? "" : ` provider {${guid(options.provider)}}`;
  return lines([
    "set context persistent nowriters",
    `set metadata ${path(options.metadataPath)}`,
    "set verbose on",
    "begin backup",
    ...volumes.map((volume, index) => {
      const alias = options.useAlias ? ` alias ${aliasOf(index)}` : "";
      return `add volume ${volumeToken(volume)}${alias}${provider}`;
    }),
    "create",
    "end backup",
  ]);
}

/** Exposes shadow copies by id, in a script of its own: aliases do not outlive the run that made them. */
export function renderExposeScript(
  shadows: readonly { readonly id: string; readonly mountPoint: string }[],
): string {
  return lines(shadows.map(({ id, mountPoint }) => `expose {${guid(id)}} ${path(mountPoint)}`));
}

/** Takes shadow copies away. diskshadow ends at its first error, so only what is there may be named. */
export function renderRemoveScript(
  shadows: readonly { readonly id: string; readonly exposed: boolean }[],
): string {
  return lines([
    ...shadows.filter(({ exposed }) => exposed).map(({ id }) => `unexpose {${guid(id)}}`),
    ...shadows.map(({ id }) => `delete shadows id {${guid(id)}}`),
  ]);
}

export function aliasOf(index: number): string {
  return `GCB${index + 1}`;
}

/** What one run of diskshadow says it made. */
export interface DiskshadowOutput {
  readonly setId: string | null;
  /** Shadow copy ids in the order of their first mention, lower case. */
  readonly shadows: readonly { readonly id: string; readonly alias: string }[];
}

const BRACED = String.raw`\{([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\}`;
const ALIASED = new RegExp(String.raw`${BRACED}[ \t]*%([A-Za-z0-9_]+)%`, "g");

/**
 * Reads the ids from the listing that `create` prints: each id stands before its variable, `{id} %NAME%`. Words around it
 * are ignored, for they are in the language of the host.
 */
export function parseDiskshadowOutput(text: string): DiskshadowOutput {
  let setId: string | null = null;
  const shadows = new Map<string, string>();
  for (const [, id, name] of text.matchAll(ALIASED)) {
    if (id === undefined || name === undefined) continue;
    if (name.toUpperCase() === "VSS_SHADOW_SET") setId = id.toLowerCase();
    else if (!shadows.has(id.toLowerCase())) shadows.set(id.toLowerCase(), name.toUpperCase());
  }
  return { setId, shadows: [...shadows].map(([id, alias]) => ({ id, alias })) };
}

function volumeToken(volume: SnapshotVolume): string {
  if (PLAIN_PATH.test(volume.directory)) return volume.directory.replace(/\\$/, "");
  if (VOLUME_NAME.test(volume.deviceId)) return volume.deviceId;
  throw refused(
    volume.directory,
    "mount the volume under a path of letters, digits, dots, hyphens and underscores",
  );
}

function path(text: string): string {
  if (!PLAIN_PATH.test(text))
    throw refused(text, "choose a stateDirectory without blanks and special characters");
  return text.replace(/(?<!:)\\$/, "");
}

function guid(text: string): string {
  if (!GUID.test(text))
    throw refused(text, "a GUID without braces is expected; check storageSnapshotProvider");
  return text.toLowerCase();
}

function refused(subject: string, advice: string): BackupError {
  return new BackupError(
    "STORAGE_SNAPSHOT_FAILED",
    `${subject} cannot be put into a diskshadow script: ${advice}.`,
    {
      retry: "after-operator",
      facts: { subject },
    },
  );
}

function lines(all: readonly string[]): string {
  return all.map((line) => `${line}\r\n`).join("");
}
