import { createHash } from "node:crypto";
import { BackupError } from "../../errors/index.ts";
import type { Leftover } from "../../contracts/index.ts";
import type { StorageSnapshot } from "../hyperv-host.ts";
import * as answers from "./answers.ts";
import type { LiveShadow, SnapshotRecord } from "./answers.ts";
import type { Ask } from "./ask.ts";
import {
  aliasOf,
  parseDiskshadowOutput,
  renderCreateScript,
  renderExposeScript,
  renderRemoveScript,
  type SnapshotVolume,
} from "./diskshadow.ts";
import type { PowerShellSettings } from "./settings.ts";

/** Storage snapshots by tag. The tag is the id: a run has one storage snapshot. */
export interface StorageSnapshots {
  create(tag: string, paths: readonly string[]): Promise<StorageSnapshot>;
  find(): Promise<readonly StorageSnapshot[]>;
  release(tag: string): Promise<void>;
  /** Shadow copies that appeared on a volume while one of our runs was at it and that no output claims. */
  findUnclaimed(): Promise<readonly Leftover[]>;
}

export function createStorageSnapshots(ask: Ask, settings: PowerShellSettings): StorageSnapshots {
  const timeoutMs = settings.storageSnapshotTimeoutMs;

  async function recorded(): Promise<{ records: SnapshotRecord[]; live: LiveShadow[] }> {
    return ask({
      script: "Get-StorageSnapshot",
      activity: "storage",
      input: {},
      answer: answers.SnapshotRecords,
      timeoutMs: settings.callTimeoutMs,
    });
  }

  async function remove(tag: string, shadows: readonly LiveShadow[]): Promise<void> {
    const viaDiskshadow = settings.storageSnapshot === "diskshadow" && shadows.length > 0;
    await ask({
      script: "Remove-StorageSnapshot",
      activity: "storage",
      input: {
        tag,
        shadowIds: shadows.map(({ id }) => id),
        scriptText: viaDiskshadow
          ? renderRemoveScript(shadows.map(({ id, exposedName }) => ({ id, exposed: exposedName !== "" })))
          : "",
        timeoutMs,
      },
      answer: answers.LiveShadows,
      timeoutMs: timeoutMs + settings.callTimeoutMs,
    });
  }

  async function release(tag: string): Promise<void> {
    const { records, live } = await recorded();
    const record = records.find((each) => each.tag === tag);
    if (record !== undefined) await remove(tag, shadowsOf(record, live));
  }

  async function makeByDiskshadow(tag: string, volumes: readonly SnapshotVolume[]): Promise<void> {
    const made = await ask({
      script: "New-StorageSnapshot",
      activity: "storage",
      input: {
        tag,
        volumes,
        scriptText: renderCreateScript(volumes, {
          metadataPath: `${settings.stateDirectory}\\storage-snapshots\\${recordFileName(tag)}.cab`,
          provider: settings.storageSnapshotProvider,
          useAlias: settings.diskshadowAlias,
        }),
        timeoutMs,
      },
      answer: answers.ShadowsMade,
      timeoutMs: timeoutMs + settings.callTimeoutMs,
    });
    const pairs = pair(volumes, parseDiskshadowOutput(made.output).shadows, made.live);
    if (pairs.some(({ shadow }) => shadow === undefined)) {
      throw new BackupError(
        "STORAGE_SNAPSHOT_FAILED",
        `diskshadow made ${made.live.length} shadow copies, but not one for each of ${volumes.length} volumes. Read its output.`,
        { retry: "later", facts: { tag, output: made.output.slice(-2_000) } },
      );
    }
    await ask({
      script: "Publish-StorageSnapshot",
      activity: "storage",
      input: {
        tag,
        scriptText: renderExposeScript(
          pairs.flatMap(({ shadow, volume }) =>
            shadow === undefined ? [] : [{ id: shadow.id, mountPoint: volume.mountPoint }],
          ),
        ),
        timeoutMs,
      },
      answer: answers.ShadowsMade,
      timeoutMs: timeoutMs + settings.callTimeoutMs,
    });
  }

  async function makeByWmi(tag: string, volumes: readonly SnapshotVolume[]): Promise<void> {
    const [volume] = volumes;
    if (volume === undefined || volumes.length > 1) {
      throw new BackupError(
        "STORAGE_SNAPSHOT_FAILED",
        `The disks lie on ${volumes.length} volumes, and Win32_ShadowCopy makes one at a time: no common point. Use diskshadow.`,
        { retry: "after-operator", facts: { tag } },
      );
    }
    await ask({
      script: "New-SoftwareStorageSnapshot",
      activity: "storage",
      input: { tag, volume },
      answer: answers.ShadowsMade,
      timeoutMs,
    });
  }

  async function findOne(tag: string): Promise<StorageSnapshot | undefined> {
    const { records, live } = await recorded();
    const record = records.find((each) => each.tag === tag);
    return record === undefined ? undefined : toStorageSnapshot(record, live);
  }

  return {
    async create(tag, paths) {
      const known = await findOne(tag);
      if (known !== undefined && holds(known, paths)) return known;
      await release(tag);
      const volumes = await volumesOf(ask, settings, tag, paths);
      try {
        if (settings.storageSnapshot === "diskshadow") await makeByDiskshadow(tag, volumes);
        else await makeByWmi(tag, volumes);
        const made = await findOne(tag);
        if (made !== undefined && holds(made, paths)) return made;
        throw new BackupError(
          "STORAGE_SNAPSHOT_FAILED",
          `The storage snapshot ${tag} is not there after it was made. Look at the VSS events of the host.`,
          { retry: "later", facts: { tag } },
        );
      } catch (error) {
        await release(tag).catch((undo: unknown) => {
          throw new BackupError(
            "STORAGE_SNAPSHOT_FAILED",
            `The storage snapshot ${tag} failed (${textOf(error)}) and what was made of it could not be removed (${textOf(undo)}). The sweep tries again.`,
            { retry: "later", facts: { tag }, cause: new AggregateError([error, undo]) },
          );
        });
        throw error;
      }
    },
    async find() {
      const { records, live } = await recorded();
      return records.flatMap((record) => toStorageSnapshot(record, live) ?? []);
    },
    release,
    async findUnclaimed() {
      const { records, live } = await recorded();
      return unclaimed(records, live);
    },
  };
}

/** Whether every path can be read in a storage snapshot. */
function holds({ volumes }: StorageSnapshot, paths: readonly string[]): boolean {
  const readable = volumes.filter(({ exposedAs }) => exposedAs !== "");
  return paths.every((path) =>
    readable.some(({ directory }) => path.toLowerCase().startsWith(directory.toLowerCase())),
  );
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The shadow copies of a record that exist: those that it or the output of its diskshadow names. */
export function shadowsOf(record: SnapshotRecord, live: readonly LiveShadow[]): LiveShadow[] {
  const named = new Set([
    ...record.shadowIds,
    ...parseDiskshadowOutput(record.output).shadows.map(({ id }) => id),
  ]);
  return live.filter(({ id }) => named.has(id));
}

/** Null-safe: undefined when none of its shadow copies exists any more. Directories end in a backslash on both sides. */
export function toStorageSnapshot(
  record: SnapshotRecord,
  live: readonly LiveShadow[],
): StorageSnapshot | undefined {
  const shadows = shadowsOf(record, live);
  if (shadows.length === 0) return undefined;
  const named = parseDiskshadowOutput(record.output).shadows;
  const volumes = pair(record.volumes, named, shadows).flatMap(({ volume, shadow }) =>
    shadow === undefined
      ? []
      : [{ directory: withBackslash(volume.directory), exposedAs: placeOf(record, volume, shadow) }],
  );
  return { storageSnapshotId: record.tag, tag: record.tag, volumes };
}

function placeOf(record: SnapshotRecord, volume: SnapshotVolume, shadow: LiveShadow): string {
  if (record.method === "win32-shadow-copy") return withBackslash(shadow.deviceObject);
  return shadow.exposedName === "" ? "" : withBackslash(volume.mountPoint);
}

/** Volume by volume its shadow copy: by alias, else by the volume's name. */
function pair(
  volumes: readonly SnapshotVolume[],
  named: readonly { readonly id: string; readonly alias: string }[],
  live: readonly LiveShadow[],
): { readonly volume: SnapshotVolume; readonly shadow: LiveShadow | undefined }[] {
  return volumes.map((volume, index) => {
    const id = named.find(({ alias }) => alias === aliasOf(index))?.id;
    const shadow =
      live.find((each) => each.id === id) ??
      live.find(
        (each) =>
          sameText(each.volumeName, volume.deviceId) &&
          (named.length === 0 || named.some((n) => n.id === each.id)),
      );
    return { volume, shadow };
  });
}

function unclaimed(records: readonly SnapshotRecord[], live: readonly LiveShadow[]): Leftover[] {
  const claimed = new Set(records.flatMap((record) => shadowsOf(record, live).map(({ id }) => id)));
  return records.flatMap((record) => {
    if (record.method !== "diskshadow" || parseDiskshadowOutput(record.output).shadows.length > 0) return [];
    const before = new Set(record.before);
    return live
      .filter(({ id, volumeName }) => {
        const isOnVolume = record.volumes.some(({ deviceId }) => sameText(deviceId, volumeName));
        return isOnVolume && !before.has(id) && !claimed.has(id);
      })
      .map(({ id, volumeName }) => ({
        kind: "storage-snapshot" as const,
        id,
        subject: volumeName,
        remedy: `It appeared while run ${record.tag} took its storage snapshot and may belong to another product. If not, remove it with diskshadow: delete shadows id {${id}}.`,
      }));
  });
}

async function volumesOf(
  ask: Ask,
  settings: PowerShellSettings,
  tag: string,
  paths: readonly string[],
): Promise<SnapshotVolume[]> {
  const { volumes } = await ask({
    script: "Get-StorageVolume",
    activity: "storage",
    input: { paths },
    answer: answers.StorageVolumes,
    timeoutMs: settings.callTimeoutMs,
  });
  const known = new Map<string, { directory: string; deviceId: string }>();
  for (const path of paths) {
    const volume = volumes.find((each) => sameText(each.path, path));
    if (volume === undefined || volume.deviceId === "") {
      throw new BackupError(
        "STORAGE_SNAPSHOT_FAILED",
        `${path} lies on no local volume, so no storage snapshot can hold it. Shares need their file server's own backup.`,
        { retry: "after-operator", facts: { path } },
      );
    }
    known.set(volume.deviceId.toLowerCase(), volume);
  }
  return [...known.values()].map(({ directory, deviceId }, index) => ({
    directory: withBackslash(directory),
    deviceId,
    mountPoint: `${settings.stateDirectory}\\mounts\\${recordFileName(tag)}-${index + 1}`,
  }));
}

/** How a tag names files, as `ConvertTo-GcbFileName` makes it: hexadecimal UTF-8, longer than 48 bytes its SHA-256. */
export function recordFileName(tag: string): string {
  const bytes = Buffer.from(tag, "utf8");
  return bytes.length > 48 ? createHash("sha256").update(bytes).digest("hex") : bytes.toString("hex");
}

function withBackslash(path: string): string {
  return path.endsWith("\\") ? path : `${path}\\`;
}

function sameText(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}
