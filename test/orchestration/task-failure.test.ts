import { expect, test } from "vitest";
import { BackupError } from "../../lib/errors/index.ts";
import { errorOfTask } from "../../lib/orchestration/index.ts";

function taskFailed(errorMessage: string, properties: unknown): Error {
  return Object.assign(new Error(`BackupError: ${errorMessage}`), {
    failureDetails: { errorMessage, properties },
  });
}

test("code, retry and facts of an activity's error survive the journey through failure details", () => {
  const error = taskFailed("no answer", {
    code: "AGENT_SILENT",
    retry: "later",
    agentId: "host-1",
    nested: {},
  });
  expect(errorOfTask(error)).toEqual({
    code: "AGENT_SILENT",
    message: "no answer",
    retry: "later",
    facts: { agentId: "host-1" },
  });
});

test.each([
  ["without properties", taskFailed("boom", undefined)],
  ["with a code of somebody else", taskFailed("boom", { code: "E_FAIL" })],
  ["as plain text", new Error("boom")],
])("a failure %s becomes ACTIVITY_FAILED and keeps its words", (_shape, error) => {
  expect(errorOfTask(error)).toMatchObject({ code: "ACTIVITY_FAILED", message: "boom" });
});

test("a BackupError thrown inside the orchestrator stays what it is", () => {
  const error = new BackupError("STEP_RESULTS_DISAGREE", "text", { facts: { step: "ship" } });
  expect(errorOfTask(error)).toEqual(error.toJSON());
});
