import { expect, test } from "vitest";
import { judge } from "../../lib/cli/demo/judge.ts";
import { renderReport, type BackupReport, type DemoReport } from "../../lib/cli/demo/report.ts";

const full: BackupReport = {
  kind: "full",
  restorePoint: "manifests/sql/one",
  durationMs: 4_000,
  changedBytes: 1_000,
  changedChunkBytes: 1_000,
  readBytes: 1_000,
  uploadedBytes: 400,
  storageSnapshots: 1,
  frozenMs: { "sql-01": 40, "sql-02": 55 },
};
const incremental: BackupReport = {
  ...full,
  kind: "incremental",
  changedBytes: 90,
  changedChunkBytes: 100,
  readBytes: 100,
};
const disk = {
  label: "data",
  path: "/restored/data.vhdx",
  virtualSizeBytes: 9,
  digest: "d",
  identical: true,
};

const good: Omit<DemoReport, "ok" | "failures"> = {
  backups: [full, incremental],
  restore: { identical: true, disks: [disk] },
  writersConsistent: true,
  leftovers: [],
};

test("a demo in which everything holds is proved", () => {
  expect(judge(good)).toMatchObject({ ok: true, failures: [] });
  expect(renderReport(judge(good))).toContain("Proved.");
});

test.each<[string, Partial<typeof good>]>([
  ["a disk that differs", { restore: { identical: false, disks: [disk] } }],
  ["no restored disk at all", { restore: { identical: true, disks: [] } }],
  ["broken writers' rules", { writersConsistent: false }],
  ["a leftover", { leftovers: [{ kind: "storage-snapshot" }] }],
  ["a second storage snapshot", { backups: [{ ...full, storageSnapshots: 2 }, incremental] }],
  ["no storage snapshot", { backups: [full, { ...incremental, storageSnapshots: 0 }] }],
  ["an incremental that was full", { backups: [full, full] }],
  ["an incremental that read too much", { backups: [full, { ...incremental, readBytes: 151 }] }],
  ["only one backup", { backups: [full] }],
])("%s makes it not proved", (_what, change) => {
  const report = judge({ ...good, ...change });
  expect(report.ok).toBe(false);
  expect(report.failures).toHaveLength(1);
  expect(renderReport(report)).toContain("NOT proved.");
});
