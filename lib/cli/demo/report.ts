import type { DiskSizes, RunRecord } from "../../contracts/index.ts";
import { formatBytes } from "../progress.ts";

/** What `gcb demo --json` prints: one object, its field names are stable. */
export interface DemoReport {
  readonly ok: boolean;
  readonly backups: readonly BackupReport[];
  readonly restore: { readonly identical: boolean; readonly disks: readonly RestoredDisk[] };
  /** The writers' own rules hold on the restored disks: every transaction whole, in order, over all members and disks. */
  readonly writersConsistent: boolean;
  /** What was left on the host after everything. */
  readonly leftovers: readonly unknown[];
  /** Why `ok` is false. */
  readonly failures: readonly string[];
}

export interface BackupReport {
  readonly kind: "full" | "incremental";
  readonly restorePoint: string;
  readonly durationMs: number;
  readonly changedBytes: number;
  /** changedBytes rounded out to chunks, disk by disk. */
  readonly changedChunkBytes: number;
  readonly readBytes: number;
  readonly uploadedBytes: number;
  readonly storageSnapshots: number;
  /** Freeze to thaw per member, by its name. */
  readonly frozenMs: Readonly<Record<string, number>>;
}

export interface RestoredDisk {
  readonly label: string;
  readonly path: string;
  readonly virtualSizeBytes: number;
  readonly digest: string;
  readonly identical: boolean;
}

/** @throws Error when the record is not that of a committed backup */
export function reportBackup(record: RunRecord): BackupReport {
  const { disks, point, restorePoint, endedAt } = record;
  if (disks === undefined || point === undefined || restorePoint === undefined || endedAt === undefined) {
    throw new Error(`run ${record.runId} did not commit`);
  }
  const sum = (of: (sizes: DiskSizes) => number) => disks.reduce((total, { sizes }) => total + of(sizes), 0);
  return {
    kind: disks.every(({ source }) => source.kind === "rct") ? "incremental" : "full",
    restorePoint,
    durationMs: Date.parse(endedAt) - Date.parse(record.startedAt),
    changedBytes: sum(({ changedBytes }) => changedBytes),
    changedChunkBytes: sum(({ changedChunkBytes }) => changedChunkBytes),
    readBytes: sum(({ readBytes }) => readBytes),
    uploadedBytes: sum(({ uploadedBytes }) => uploadedBytes),
    storageSnapshots: point.storageSnapshots,
    frozenMs: Object.fromEntries(point.members.map(({ name, frozenMs }) => [name, Math.round(frozenMs)])),
  };
}

/** The summary table for people. */
export function renderReport(report: DemoReport): string {
  const header = ["", "full", "incremental"];
  const cell = (of: (backup: BackupReport) => string) => report.backups.map(of);
  const rows = [
    header,
    ["duration", ...cell(({ durationMs }) => `${(durationMs / 1000).toFixed(1)} s`)],
    ["changed", ...cell(({ changedBytes }) => formatBytes(changedBytes))],
    ["read from the storage snapshot", ...cell(({ readBytes }) => formatBytes(readBytes))],
    ["uploaded", ...cell(({ uploadedBytes }) => formatBytes(uploadedBytes))],
    ["storage snapshots", ...cell(({ storageSnapshots }) => String(storageSnapshots))],
    [
      "longest freeze of a member",
      ...cell(({ frozenMs }) => `${String(Math.max(...Object.values(frozenMs)))} ms`),
    ],
  ];
  const widths = header.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  const line = (row: readonly string[]) =>
    row
      .map((text, column) =>
        column === 0 ? text.padEnd(widths[0] ?? 0) : text.padStart(widths[column] ?? 0),
      )
      .join("   ");
  const proofs = [
    [
      report.restore.identical,
      `${String(report.restore.disks.length)} restored disks have the digests of their manifest`,
    ],
    [report.writersConsistent, "the writers' rules hold on the restored disks, across members and disks"],
    [report.leftovers.length === 0, "nothing is left on the host"],
  ] as const;
  return [
    ...rows.map((row) => `  ${line(row)}`.trimEnd()),
    "",
    ...proofs.map(([holds, text]) => `  ${holds ? "✓" : "✗"} ${text}`),
    ...report.failures.map((failure) => `  ✗ ${failure}`),
    "",
    report.ok ? "  Proved." : "  NOT proved.",
  ].join("\n");
}
