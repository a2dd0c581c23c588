import { describe, expect, test } from "vitest";
import type { GuestClusterId } from "../../lib/contracts/index.ts";
import { isDue, parseSchedule } from "../../lib/orchestration/index.ts";

const nightly = { id: "sql" as GuestClusterId, schedule: "0 30 2 * * *", timeZone: "UTC" };
const at = (text: string) => new Date(text);

describe("a schedule is due", () => {
  test.each([
    ["once its time lies in the interval", "2026-11-23T02:29:00Z", "2026-11-23T02:30:00Z", true],
    ["not before its time", "2026-11-23T02:28:00Z", "2026-11-23T02:29:59Z", false],
    ["not twice: the interval is open at its start", "2026-11-23T02:30:00Z", "2026-11-23T02:31:00Z", false],
    ["when the app was down at its time", "2026-11-22T20:00:00Z", "2026-11-23T09:00:00Z", true],
    ["though it was last looked at months ago", "2026-07-01T00:00:00Z", "2026-11-23T09:00:00Z", true],
  ])("%s", (_rule, after, until, expected) => {
    expect(isDue(nightly, at(after), at(until))).toBe(expected);
  });

  test("in its own time zone, also across the change to winter time", () => {
    const berlin = { ...nightly, timeZone: "Europe/Berlin" };
    expect(isDue(berlin, at("2026-10-24T00:29:00Z"), at("2026-10-24T00:30:00Z"))).toBe(true);
    expect(isDue(berlin, at("2026-10-26T01:29:00Z"), at("2026-10-26T01:30:00Z"))).toBe(true);
    expect(isDue(berlin, at("2026-10-26T00:29:00Z"), at("2026-10-26T00:30:00Z"))).toBe(false);
  });

  test("never without a schedule", () => {
    const byRequest = { id: nightly.id, timeZone: "UTC" };
    expect(isDue(byRequest, at("2026-01-01T00:00:00Z"), at("2026-11-23T00:00:00Z"))).toBe(false);
  });
});

test.each([
  ["five fields", "30 2 * * *", "UTC"],
  ["a minute that does not exist", "0 61 2 * * *", "UTC"],
  ["words", "every night", "UTC"],
  ["a time zone that does not exist", "0 30 2 * * *", "Europe/Atlantis"],
])("a schedule with %s is refused by name", (_what, schedule, timeZone) => {
  expect(() => parseSchedule("sql", schedule, timeZone)).toThrow(
    expect.objectContaining({ code: "SCHEDULE_INVALID", message: expect.stringContaining("sql") as string }),
  );
});
