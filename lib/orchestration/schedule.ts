import { Cron } from "croner";
import type { GuestCluster } from "../contracts/index.ts";
import { BackupError } from "../errors/index.ts";

/** A night that was missed for longer than this is not made up for: the next one comes first. */
const OLDEST_MISSED_MS = 24 * 60 * 60_000;

/**
 * Whether a guest cluster's schedule fell due in the half-open interval (after, until]. Several missed times count as one.
 *
 * @param after when the schedule was last looked at; an older instant than 24 h before `until` is cut there
 * @throws BackupError SCHEDULE_INVALID
 */
export function isDue(
  cluster: Pick<GuestCluster, "id" | "schedule" | "timeZone">,
  after: Date,
  until: Date,
): boolean {
  if (cluster.schedule === undefined) return false;
  const from = new Date(Math.max(after.getTime(), until.getTime() - OLDEST_MISSED_MS));
  const next = parseSchedule(cluster.id, cluster.schedule, cluster.timeZone).nextRun(from);
  return next !== null && next.getTime() <= until.getTime();
}

/** @throws BackupError SCHEDULE_INVALID unless `schedule` has six fields and the time zone exists */
export function parseSchedule(clusterId: string, schedule: string, timeZone: string): Cron {
  try {
    if (schedule.trim().split(/\s+/).length !== 6) throw new RangeError("it must have six fields");
    const cron = new Cron(schedule, { timezone: timeZone, paused: true });
    cron.nextRun();
    return cron;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new BackupError(
      "SCHEDULE_INVALID",
      `guest cluster ${clusterId}: schedule "${schedule}" in time zone ${timeZone} cannot be used: ${why}`,
      { retry: "after-operator", facts: { clusterId }, cause: error },
    );
  }
}
