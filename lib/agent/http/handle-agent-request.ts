import * as z from "zod";
import {
  GuestClusterId,
  operationIdOf,
  OperationKind,
  OperationRequest,
  RunId,
  type AgentHealth,
} from "../../contracts/index.ts";
import { BackupError, toErrorDocument, type BackupErrorCode } from "../../errors/index.ts";
import type { RelayRequest, RelayResponse } from "../../relay/index.ts";
import type { CommandVerifier, VerifiedCommand } from "../commands/command-verifier.ts";
import type { OperationEngine } from "../engine.ts";
import { redact, type AgentLog } from "../log.ts";

export interface AgentRequestOptions {
  readonly engine: Pick<OperationEngine, "put" | "undo" | "state" | "wait">;
  readonly verify: CommandVerifier;
  readonly health: () => AgentHealth;
  readonly log: AgentLog;
}

/** Larger bodies are refused: what a control plane sends is small, and lists stay on the agent. */
const MAX_BODY_BYTES = 1024 * 1024;
const MAX_WAIT_MS = 25_000;

/** Answers one request of the control plane. Never rejects: whatever happens is an answer. */
export function createAgentRequestHandler(
  options: AgentRequestOptions,
): (request: RelayRequest) => Promise<RelayResponse> {
  return async (request) => {
    try {
      return await answer(request, options);
    } catch (error) {
      const { code, message, retry, facts } = toErrorDocument(error);
      const status = error instanceof RouteError ? error.status : (STATUS[code] ?? 500);
      if (status >= 500)
        options.log("error", "a request could not be answered", {
          requestId: request.id,
          code,
          why: message,
        });
      if (status === 401)
        options.log("warn", "a command was refused", { requestId: request.id, code, why: message });
      return json(status, { error: { code, message: redact(message), retry, facts } });
    }
  };
}

async function answer(request: RelayRequest, options: AgentRequestOptions): Promise<RelayResponse> {
  const { engine, verify, health } = options;
  if (request.body.length > MAX_BODY_BYTES) {
    throw new RouteError(
      413,
      "INPUT_INVALID",
      `the body has ${request.body.length} bytes, at most ${MAX_BODY_BYTES} are taken`,
    );
  }
  const { method, target, body } = request;
  // Strangers learn nothing, not even which resources there are.
  const command = await verify({ authorization: request.headers["authorization"], method, target, body });
  const route = findRoute(target);
  if (!route.methods.includes(method)) {
    throw new RouteError(
      405,
      "AGENT_ROUTE_UNKNOWN",
      `${route.path} takes ${route.methods.join(", ")}, not ${method}`,
    );
  }
  switch (route.kind) {
    case "health":
      return json(200, health());
    case "run": {
      insistOnRun(command, route.runId);
      const clusterId = parse(GuestClusterId, route.query.get("clusterId"), "clusterId");
      return json(202, engine.undo(route.runId, clusterId));
    }
    case "operation": {
      insistOnRun(command, route.runId);
      const id = operationIdOf(route.runId, route.operation);
      if (method === "GET") {
        const waitMs = parse(WaitMs, route.query.get("waitMs") ?? "0", "waitMs");
        return json(200, await engine.wait(id, Math.min(waitMs, MAX_WAIT_MS), request.signal));
      }
      const asked = parse(OperationRequest, parseJson(body), "body");
      if (asked.runId !== route.runId || asked.kind !== route.operation) {
        throw new RouteError(
          400,
          "INPUT_INVALID",
          `the body asks for ${asked.runId}.${asked.kind}, the path for ${id}`,
        );
      }
      const state = engine.put(asked);
      return json(state.state === "running" ? 202 : 200, state);
    }
  }
}

const WaitMs = z
  .string()
  .regex(/^\d{1,9}$/, "a whole number of milliseconds")
  .transform(Number);

type Route = {
  readonly path: string;
  readonly methods: readonly string[];
  readonly query: URLSearchParams;
} & (
  | { readonly kind: "health" }
  | { readonly kind: "run"; readonly runId: RunId }
  | { readonly kind: "operation"; readonly runId: RunId; readonly operation: OperationKind }
);

function findRoute(target: string): Route {
  const [path = "", queryText = ""] = target.split("?", 2);
  const query = new URLSearchParams(queryText);
  if (path === "/v1/health") return { kind: "health", path, methods: ["GET"], query };
  const run = RunId.safeParse(/^\/v1\/runs\/([^/]+)$/.exec(path)?.[1]);
  if (run.success) return { kind: "run", path, methods: ["DELETE"], query, runId: run.data };
  const [, runText, kindText] = /^\/v1\/operations\/([^/.]+)\.([a-z-]+)$/.exec(path) ?? [];
  const runId = RunId.safeParse(runText);
  const operation = OperationKind.safeParse(kindText);
  if (runId.success && operation.success) {
    return {
      kind: "operation",
      path,
      methods: ["GET", "PUT"],
      query,
      runId: runId.data,
      operation: operation.data,
    };
  }
  throw new RouteError(
    404,
    "AGENT_ROUTE_UNKNOWN",
    `there is no resource ${JSON.stringify(path.slice(0, 200))}`,
  );
}

/** A signature is for one run: one that was made for another cannot be used here. */
function insistOnRun(command: VerifiedCommand, runId: RunId): void {
  if (command.runId === runId) return;
  throw new RouteError(
    401,
    "COMMAND_REFUSED",
    `the command was signed for run ${command.runId ?? "(none)"}, not ${runId}`,
  );
}

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    // The parser's own words would quote the body, which can hold a secret.
    throw new RouteError(400, "INPUT_INVALID", "the body is not JSON in UTF-8");
  }
}

function parse<T extends z.ZodType>(schema: T, value: unknown, what: string): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new RouteError(400, "INPUT_INVALID", `${what} is not valid: ${z.prettifyError(parsed.error)}`);
}

class RouteError extends BackupError {
  readonly status: number;

  constructor(status: number, code: BackupErrorCode, message: string) {
    super(code, message);
    this.status = status;
  }
}

const STATUS: { readonly [Code in BackupErrorCode]?: number } = {
  COMMAND_REFUSED: 401,
  COMMAND_EXPIRED: 401,
  COMMAND_REPLAYED: 401,
  INPUT_INVALID: 400,
  AGENT_OPERATION_UNKNOWN: 404,
  AGENT_OPERATION_CONFLICT: 409,
  AGENT_RUN_BUSY: 409,
  AGENT_RUN_ENDED: 409,
  AGENT_RUN_EXPIRED: 409,
  AGENT_UNREACHABLE: 503,
};

function json(status: number, document: unknown): RelayResponse {
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  return { status, headers, body: Buffer.from(JSON.stringify(document)) };
}
