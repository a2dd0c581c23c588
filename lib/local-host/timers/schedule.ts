import { Cron } from "croner";
import { parseTimeSpan } from "../app/durations.ts";

export interface Schedule {
  /** The first occurrence strictly after an instant, or undefined when there is none. Milliseconds since 1970. */
  next(afterMs: number): number | undefined;
}

/**
 * Reads a timer's schedule: NCRONTAB with six fields (seconds first) or five, or a .NET time span such as `00:05:00`.
 * Day of month and day of week must both hold, as NCrontab has it.
 *
 * @param timeZone an IANA name; the setting WEBSITE_TIME_ZONE, UTC by default
 * @throws Error when the text is neither
 */
export function parseSchedule(text: string, timeZone: string): Schedule {
  const periodMs = parseTimeSpan(text);
  if (periodMs !== undefined) {
    if (periodMs <= 0) throw new Error(`"${text}" is not a period`);
    return { next: (afterMs) => afterMs + periodMs };
  }
  const cron = new Cron(text, { timezone: timeZone, domAndDow: true, mode: "5-or-6-parts", paused: true });
  return { next: (afterMs) => cron.nextRun(new Date(afterMs))?.getTime() };
}
