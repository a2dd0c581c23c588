import { expect, test } from "vitest";
import type { Leftover, PreflightFinding } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import {
  endOfCommitted,
  endOfFailed,
  isRefused,
  pauseAfterSilence,
  planPoll,
  refusal,
} from "../../lib/orchestration/index.ts";

const leftover: Leftover = { kind: "storage-snapshot", id: "s", subject: "volume", remedy: "delete it" };
const finding = (severity: PreflightFinding["severity"]): PreflightFinding => ({
  code: "PREFLIGHT_NOT_RUNNING",
  severity,
  subject: "sql-01",
  message: "is off",
  remedy: "start it",
});
const error = new BackupError("INTERNAL", "x").toJSON();

test("something left behind is never plain success", () => {
  expect(endOfCommitted([], undefined)).toBe("committed");
  expect(endOfCommitted([leftover], undefined)).toBe("committed-with-leftovers");
  expect(endOfCommitted([], error)).toBe("committed-with-leftovers");
});

test("a run counts as undone only when the undo left nothing", () => {
  expect(endOfFailed([], undefined)).toBe("undone");
  expect(endOfFailed([leftover], undefined)).toBe("failed");
  expect(endOfFailed([], error)).toBe("failed");
});

test("warnings do not refuse a run, and a refusal names every cause with its remedy", () => {
  expect(isRefused([finding("warn")])).toBe(false);
  expect(isRefused([finding("warn"), finding("refuse")])).toBe(true);
  const document = refusal([finding("warn"), finding("refuse"), finding("refuse")]);
  expect(document).toMatchObject({ code: "PREFLIGHT_REFUSED", facts: { causes: 2 } });
  expect(document.message).toContain("sql-01: is off (start it)");
});

test("a short operation is watched closely, a long one occupies no activity slot", () => {
  expect(planPoll(1_000).pauseMs).toBe(0);
  expect(planPoll(3_600_000).waitMs).toBe(0);
  expect(planPoll(3_600_000).pauseMs).toBeGreaterThan(0);
});

test("the pauses before a silent agent is asked again grow to a minute and stay there", () => {
  const pauses = Array.from({ length: 40 }, (_, attempt) => pauseAfterSilence(attempt));
  expect(pauses[0]).toBe(2_000);
  expect(Math.max(...pauses)).toBe(60_000);
  expect([...pauses].sort((a, b) => a - b)).toEqual(pauses);
});
