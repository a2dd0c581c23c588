import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import type { RunRecord } from "../../contracts/index.ts";
import { BackupError, fromErrorDocument } from "../../errors/index.ts";
import { connectSimulatedHost } from "../../simulated-host/index.ts";
import type { Estate } from "../estate/estate.ts";
import type { StartedRun } from "../estate/control-plane.ts";
import { formatBytes, type Progress } from "../progress.ts";
import { chooseVictim, flipOneBit, type CorruptibleKind } from "./corrupt.ts";
import { judge } from "./judge.ts";
import { checkRestoredWriters } from "./restored-writers.ts";
import { reportBackup, type BackupReport, type DemoReport, type RestoredDisk } from "./report.ts";

/** How long the members write between the two backups. */
const LOAD_MS = 6_000;

export interface DemoOptions {
  /** Damages one stored byte before the restore, to show that a restore never gives wrong data. */
  readonly corrupt?: CorruptibleKind;
  readonly signal: AbortSignal;
}

/**
 * Full backup, load, incremental backup, restore, proof, over HTTP as an administrator would.
 *
 * @throws BackupError of the run that failed, for example what a damaged object was found to be
 */
export async function runDemo(estate: Estate, options: DemoOptions, progress: Progress): Promise<DemoReport> {
  const { signal } = options;
  const full = await backUp(estate, "full backup while the members write", progress, signal);
  progress.step("let the members write");
  await sleep(LOAD_MS, undefined, { signal });
  const incremental = await backUp(estate, "incremental backup while the members write", progress, signal);

  if (options.corrupt !== undefined) {
    progress.step(`flip one bit of a stored ${options.corrupt}`);
    const victim = await chooseVictim(estate.container, options.corrupt, incremental.restorePoint);
    await flipOneBit(estate.container, victim);
    progress.done(victim);
  }
  const disks = await restore(estate, incremental.restorePoint, progress, signal);
  progress.step("check the writers' rules on the restored disks");
  const writers = await checkRestoredWriters(disks);
  progress.done(writers.summary);
  const leftovers = await connectSimulatedHost({ url: estate.simulatedHostUrl }).findLeftovers(
    estate.cluster.members,
  );
  return judge({
    backups: [full, incremental],
    restore: { identical: disks.length > 0 && disks.every(({ identical }) => identical), disks },
    writersConsistent: writers.isConsistent,
    leftovers,
  });
}

async function backUp(
  estate: Estate,
  title: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<BackupReport> {
  progress.step(title);
  const run = await estate.controlPlane.startBackup(estate.cluster.id);
  const record = await finished(estate, run, "committed", progress, signal);
  const report = reportBackup(record);
  progress.done(`${formatBytes(report.readBytes)} read, ${formatBytes(report.uploadedBytes)} uploaded`);
  return report;
}

async function restore(
  estate: Estate,
  restorePoint: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<RestoredDisk[]> {
  progress.step("restore the last restore point to new files");
  const targetDirectory = join(estate.restoreRoot, "demo");
  const run = await estate.controlPlane.startRestore(estate.cluster.id, { restorePoint, targetDirectory });
  const record = await finished(estate, run, "restored", progress, signal);
  const disks = (record.restored ?? []).map(({ label, path, virtualSizeBytes, mapRoot, identical }) => {
    return { label, path, virtualSizeBytes, digest: mapRoot, identical };
  });
  progress.done(`${String(disks.length)} disks in ${targetDirectory}`);
  return disks;
}

/** @throws BackupError the run's own error when it did not end in `state` */
async function finished(
  estate: Estate,
  run: StartedRun,
  state: RunRecord["state"],
  progress: Progress,
  signal: AbortSignal,
): Promise<RunRecord> {
  const record = await estate.controlPlane.follow(run, (step) => progress.update(step), signal);
  if (record.state === state) return record;
  if (record.error !== undefined) throw fromErrorDocument(record.error);
  throw new BackupError("DEMO_NOT_PROVED", `run ${record.runId} ended ${record.state}, not ${state}`, {
    facts: { runId: record.runId, state: record.state },
  });
}
