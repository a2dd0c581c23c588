import * as z from "zod";
import {
  AgentHealth,
  ErrorDocumentSchema,
  operationIdOf,
  OPERATIONS,
  OperationState,
  RunId,
  type AgentId,
  type GuestClusterId,
  type OperationKind,
  type OperationResult,
} from "../../contracts/index.ts";
import { BackupError, fromErrorDocument } from "../../errors/index.ts";
import type { SenderRequest, SenderResponse } from "../../relay/index.ts";
import type { CommandSigner } from "../commands/command-signer.ts";

/** An operation's state with the result of its kind. */
export type OperationStateOf<K extends OperationKind> =
  | Exclude<OperationState, { readonly state: "succeeded" }>
  | (Extract<OperationState, { readonly state: "succeeded" }> & { readonly result: OperationResult<K> });

export interface AgentClient {
  /**
   * Creates the operation or finds it. The input is checked before it is sent.
   *
   * @throws BackupError INPUT_INVALID; AGENT_UNREACHABLE or RELAY_… when there was no answer (`retry: "later"`: ask again, it may
   *   have been carried out); AGENT_ANSWER_INVALID; whatever the agent refuses with
   */
  putOperation<K extends OperationKind>(request: {
    readonly runId: RunId;
    readonly clusterId: GuestClusterId;
    readonly kind: K;
    /** `OperationInput<K>`; checked here, so that what came from orchestration history can be passed on as it is. */
    readonly input: unknown;
  }): Promise<OperationStateOf<K>>;
  /** The state once it has ended, or after `waitMs` (the agent waits at most 25 s). @throws as putOperation */
  getOperation(operationId: string, waitMs: number): Promise<OperationStateOf<OperationKind>>;
  /** Takes the run back: creates the operation `{runId}.undo` or finds it. @throws as putOperation */
  undoRun(run: {
    readonly runId: RunId;
    readonly clusterId: GuestClusterId;
  }): Promise<OperationStateOf<"undo">>;
  health(): Promise<AgentHealth>;
}

export interface AgentClientOptions {
  readonly agentId: AgentId;
  /** Sends one request to the agent, e.g. a RelaySender's `send`. */
  readonly send: (request: SenderRequest) => Promise<SenderResponse>;
  readonly signCommand: CommandSigner;
}

/** On top of what the agent was asked to wait. The Relay itself would keep a request to an agent that died for 60 s. */
const ANSWER_WITHIN_MS = 15_000;

const JSON_BODY = { "content-type": "application/json" };

/** The control plane's side of the agent's HTTP contract. */
export function createAgentClient({ agentId, send, signCommand }: AgentClientOptions): AgentClient {
  const request = async (command: {
    readonly method: string;
    readonly target: string;
    readonly runId?: RunId;
    readonly document?: unknown;
    readonly waitMs?: number;
  }): Promise<unknown> => {
    const { method, target, runId, document, waitMs = 0 } = command;
    const body = document === undefined ? new Uint8Array() : Buffer.from(JSON.stringify(document));
    const authorization = await signCommand({
      agentId,
      method,
      target,
      body,
      ...(runId === undefined ? {} : { runId }),
    });
    using patience = limit(agentId, waitMs + ANSWER_WITHIN_MS);
    let response: SenderResponse;
    try {
      const content =
        document === undefined
          ? { headers: { authorization } }
          : { headers: { authorization, ...JSON_BODY }, body };
      response = await send({ method, path: target, ...content, signal: patience.signal });
    } catch (cause) {
      if (cause instanceof BackupError) throw cause;
      throw unreachable(agentId, cause instanceof Error ? cause.message : String(cause), cause);
    }
    return readAnswer(agentId, response);
  };

  return {
    async putOperation({ runId, clusterId, kind, input }) {
      const parsed = OPERATIONS[kind].input.safeParse(input);
      if (!parsed.success) {
        throw new BackupError(
          "INPUT_INVALID",
          `the input of ${kind} is not valid: ${z.prettifyError(parsed.error)}`,
          {
            facts: { kind },
          },
        );
      }
      const target = `/v1/operations/${operationIdOf(runId, kind)}`;
      const document = { kind, runId, clusterId, input: parsed.data };
      return stateOf(kind, agentId, await request({ method: "PUT", target, runId, document }));
    },
    async getOperation(operationId, waitMs) {
      const runId = RunId.parse(operationId.split(".", 1)[0]);
      const wholeMs = Math.max(0, Math.round(waitMs));
      const target = `/v1/operations/${operationId}?waitMs=${wholeMs}`;
      const answer = await request({ method: "GET", target, runId, waitMs: wholeMs });
      const state = parse(OperationState, agentId, answer);
      return stateOf(state.kind, agentId, state);
    },
    async undoRun({ runId, clusterId }) {
      const target = `/v1/runs/${runId}?clusterId=${clusterId}`;
      return stateOf("undo", agentId, await request({ method: "DELETE", target, runId }));
    },
    async health() {
      return parse(AgentHealth, agentId, await request({ method: "GET", target: "/v1/health" }));
    },
  };
}

function stateOf<K extends OperationKind>(kind: K, agentId: AgentId, document: unknown): OperationStateOf<K> {
  const state = parse(OperationState, agentId, document);
  if (state.kind !== kind) throw invalid(agentId, `it answered with the operation ${state.operationId}`);
  if (state.state !== "succeeded") return state;
  // The schema of this kind gives exactly OperationResult<K>; the compiler cannot follow the index through the union.
  const result = parse(OPERATIONS[kind].result, agentId, state.result) as OperationResult<K>;
  return { ...state, result };
}

const Problem = z.object({ error: ErrorDocumentSchema });

function readAnswer(agentId: AgentId, { status, body }: SenderResponse): unknown {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (cause) {
    const why = `it answered ${status} without a document`;
    throw status >= 500 ? unreachable(agentId, why, cause) : invalid(agentId, why);
  }
  if (status >= 200 && status < 300) return document;
  const problem = Problem.safeParse(document);
  if (problem.success) throw fromErrorDocument(problem.data.error);
  const why = `it answered ${status} with an unknown document`;
  throw status >= 500 ? unreachable(agentId, why) : invalid(agentId, why);
}

function parse<T extends z.ZodType>(schema: T, agentId: AgentId, document: unknown): z.output<T> {
  const parsed = schema.safeParse(document);
  if (parsed.success) return parsed.data;
  throw invalid(agentId, z.prettifyError(parsed.error));
}

/** A signal that ends a request which takes too long, with the error that says so. */
function limit(agentId: AgentId, ms: number): { readonly signal: AbortSignal } & Disposable {
  const abort = new AbortController();
  const timer = setTimeout(() => {
    abort.abort(unreachable(agentId, `no answer came within ${ms} ms`));
  }, ms);
  return {
    signal: abort.signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
    },
  };
}

function unreachable(agentId: AgentId, why: string, cause?: unknown): BackupError {
  return new BackupError(
    "AGENT_UNREACHABLE",
    `agent ${agentId} could not be reached: ${why}; it is tried again`,
    {
      ...{ retry: "later", facts: { agentId }, cause },
    },
  );
}

function invalid(agentId: AgentId, why: string): BackupError {
  return new BackupError(
    "AGENT_ANSWER_INVALID",
    `agent ${agentId} gave an answer that this version does not understand: ${why}; bring both to the same version`,
    { retry: "after-operator", facts: { agentId } },
  );
}
