import type { BackupReport, DemoReport } from "./report.ts";

/** An incremental run reads only what changed: at most this times the change ranges rounded out to chunks. */
const READ_LIMIT = 1.5;

/** Puts the report together and decides whether everything is proved. Pure, so that a test can try each way to fail. */
export function judge(facts: Omit<DemoReport, "ok" | "failures">): DemoReport {
  const failures = [
    ...facts.backups.flatMap((backup, index) => judgeBackup(backup, index)),
    ...(facts.backups.length < 2 ? ["fewer than two backups were made"] : []),
    ...(facts.restore.disks.length === 0 ? ["no disk was restored"] : []),
    ...(facts.restore.identical ? [] : ["a restored disk differs from its manifest"]),
    ...(facts.writersConsistent ? [] : ["the writers' rules are broken on the restored disks"]),
    ...(facts.leftovers.length === 0 ? [] : [`${String(facts.leftovers.length)} leftovers on the host`]),
  ];
  return { ok: failures.length === 0, ...facts, failures };
}

function judgeBackup(backup: BackupReport, index: number): string[] {
  const failures: string[] = [];
  const expected = index === 0 ? "full" : "incremental";
  if (backup.kind !== expected)
    failures.push(`backup ${String(index + 1)} was ${backup.kind}, not ${expected}`);
  if (backup.storageSnapshots !== 1) {
    failures.push(
      `backup ${String(index + 1)} took ${String(backup.storageSnapshots)} storage snapshots, not one`,
    );
  }
  if (expected === "incremental" && backup.readBytes > READ_LIMIT * backup.changedChunkBytes) {
    failures.push(
      `backup ${String(index + 1)} read ${String(backup.readBytes)} bytes for ${String(backup.changedChunkBytes)} changed`,
    );
  }
  return failures;
}
