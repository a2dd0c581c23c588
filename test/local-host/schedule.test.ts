import { describe, expect, test } from "vitest";
import { parseSchedule } from "../../lib/local-host/timers/schedule.ts";

const next = (text: string, after: string, zone = "UTC"): string | undefined => {
  const ms = parseSchedule(text, zone).next(Date.parse(after));
  return ms === undefined ? undefined : new Date(ms).toISOString();
};

describe("NCRONTAB", () => {
  test.each([
    ["0 */5 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00.000Z"],
    ["0 0 * * * *", "2026-01-01T00:00:01Z", "2026-01-01T01:00:00.000Z"],
    ["0 30 9 * * 1-5", "2026-01-02T10:00:00Z", "2026-01-05T09:30:00.000Z"],
    ["0 30 9 * Jan Mon", "2026-01-05T09:30:00Z", "2026-01-12T09:30:00.000Z"],
    ["15,45 0 0 1 * *", "2026-01-01T00:00:15Z", "2026-01-01T00:00:45.000Z"],
    ["30 2 * * *", "2026-01-01T00:00:00Z", "2026-01-01T02:30:00.000Z"],
  ])("%s after %s is %s", (text, after, expected) => {
    expect(next(text, after)).toBe(expected);
  });

  test("day of month and day of week must both hold", () => {
    expect(next("0 0 0 13 * 5", "2026-01-01T00:00:00Z")).toBe("2026-02-13T00:00:00.000Z");
  });

  test("the time zone is where the hours are counted", () => {
    expect(next("0 0 2 * * *", "2026-07-01T00:30:00Z", "Europe/Berlin")).toBe("2026-07-02T00:00:00.000Z");
  });

  test("a time span is a period", () => {
    expect(next("00:15:00", "2026-01-01T00:00:00Z")).toBe("2026-01-01T00:15:00.000Z");
  });

  test.each(["", "nonsense", "99 * * * * *", "00:00:00"])('"%s" is refused', (text) => {
    expect(() => parseSchedule(text, "UTC")).toThrow();
  });
});
