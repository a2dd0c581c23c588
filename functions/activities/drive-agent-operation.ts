import {
  NEEDS_REPOSITORY,
  operationIdOf,
  type driveAgentOperation,
  type OperationState,
} from "../../lib/contracts/index.ts";
import { BackupError, toErrorDocument } from "../../lib/errors/index.ts";
import type { Ports } from "../ports/ports.ts";
import type { ActivityOf } from "./activity.ts";

/** The agent answers a long poll within this time; the Relay allows 60 s. */
const LONG_POLL_MS = 20_000;

/**
 * Asks for the operation (the agent creates or finds it) and watches it for up to `waitMs`. The repository's URL is added here,
 * at the last moment: it carries a token that must not stand in orchestration history.
 */
export function createDriveAgentOperation(
  ports: Pick<Ports, "agent" | "agentRepositoryUrl">,
): ActivityOf<typeof driveAgentOperation> {
  return async ({ agentId, clusterId, runId, kind, input, waitMs }) => {
    const agent = ports.agent(agentId);
    const until = performance.now() + waitMs;
    try {
      const command = NEEDS_REPOSITORY.has(kind)
        ? { ...asObject(input), repository: { url: await ports.agentRepositoryUrl() } }
        : input;
      let state =
        kind === "undo"
          ? await agent.undoRun({ runId, clusterId })
          : await agent.putOperation({ runId, clusterId, kind, input: command });
      while (isRunning(state) && performance.now() < until) {
        const remainingMs = Math.max(0, until - performance.now());
        state = await agent.getOperation(operationIdOf(runId, kind), Math.min(LONG_POLL_MS, remainingMs));
      }
      if (!isRunning(state)) return { kind: "ended", state };
      return state.progress === undefined
        ? { kind: "running" }
        : { kind: "running", progress: state.progress };
    } catch (error) {
      // An identity or storage service that is down for a while must not end hours of shipping: it counts as silence.
      const document = toErrorDocument(error);
      const isPassing = document.retry === "later" || !(error instanceof BackupError);
      return { kind: isPassing ? "unreachable" : "refused", error: document };
    }
  };
}

function isRunning(state: OperationState): state is Extract<OperationState, { state: "running" }> {
  return state.state === "running";
}

function asObject(input: unknown): Record<string, unknown> {
  return typeof input === "object" && input !== null ? { ...input } : {};
}
