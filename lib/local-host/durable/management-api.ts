import { setTimeout as sleep } from "node:timers/promises";
import type { Request, Response } from "../http/message.ts";
import { json, problem } from "../http/message.ts";
import { managementUrls, WEBHOOK_PATH } from "./client-binding.ts";
import { bodyJson, decode, query, readFilter, readToken, writeToken } from "./management-request.ts";
import { ClientCommands, type CommandResult } from "./client-commands.ts";
import type { DurableEngine } from "./engine.ts";
import { formatEntityId, parseEntityId } from "./entity-messages.ts";
import { listInstances, statusDocument } from "./queries.ts";
import { purgeInstances } from "./purge.ts";
import { rewindInstance } from "./rewind.ts";
import { FINISHED, isFinished, type EntityRow } from "./store.ts";

const DEFAULT_PAGE = 100;

/** The Durable HTTP API: what `durable-functions`' client calls, and what the URLs of `createCheckStatusResponse` lead to. */
export class ManagementApi {
  readonly #engine: DurableEngine;
  readonly #commands: ClientCommands;
  readonly #hubName: string;
  readonly #key: string | undefined;

  /** @param key goes into the links of answers; undefined when keys are off */
  constructor(engine: DurableEngine, hubName: string, key: string | undefined) {
    this.#engine = engine;
    this.#commands = new ClientCommands(engine.context);
    this.#hubName = hubName;
    this.#key = key;
  }

  get commands(): ClientCommands {
    return this.#commands;
  }

  /** @param path below the API's base, without the leading slash, percent-encoded */
  async handle(request: Request, path: string): Promise<Response> {
    const parts = path
      .split("/")
      .filter((part) => part !== "")
      .map(decode);
    const [area, first, second, third] = parts;
    const hub = query(request, "taskHub");
    if (hub !== undefined && hub.toLowerCase() !== this.#hubName.toLowerCase()) {
      return problem(400, `This host serves the task hub "${this.#hubName}", not "${hub}".`);
    }
    switch (area?.toLowerCase()) {
      case "orchestrators":
        if (request.method !== "POST" || first === undefined || parts.length > 3) return { status: 404 };
        return this.#start(request, first, second);
      case "instances":
        if (first === undefined) return this.#instances(request);
        if (second === undefined) return this.#instance(request, first);
        if (request.method !== "POST") return { status: 404 };
        return this.#operate(request, first, second.toLowerCase(), third);
      case "entities":
        return this.#entities(request, first, parts.slice(2).join("/"));
      case undefined:
      default:
        return { status: 404 };
    }
  }

  async #start(request: Request, name: string, instanceId: string | undefined): Promise<Response> {
    const input = bodyJson(request);
    if (input === undefined)
      return problem(400, "The body is not valid JSON; send the orchestration's input as JSON.");
    const started = this.#commands.start({ name, instanceId, input, version: query(request, "version") });
    if ("refused" in started) {
      switch (started.refused) {
        case "unknown-function":
          return problem(
            400,
            `The function '${name}' doesn't exist, is disabled, or is not an orchestrator function.`,
          );
        case "running":
          return problem(
            409,
            `An orchestration instance with the id '${instanceId ?? ""}' is running already; wait for its end, or use another id.`,
          );
        case "bad-id":
          return problem(
            400,
            `'${instanceId ?? ""}' can't be an instance id: it must not begin with "@" or hold / \\ # ? or control characters, and has at most 256 characters.`,
          );
      }
    }
    return this.#startedOrDone(request, started.id);
  }

  /** 202 with the links; with `timeout` and `pollingInterval` (seconds) the result, if it comes in time. */
  async #startedOrDone(request: Request, id: string): Promise<Response> {
    const timeoutS = Number(query(request, "timeout") ?? Number.NaN);
    const intervalS = Number(query(request, "pollingInterval") ?? Number.NaN);
    const { store } = this.#engine.context;
    if (Number.isFinite(timeoutS) && Number.isFinite(intervalS)) {
      const endsAt = performance.now() + timeoutS * 1000;
      for (;;) {
        const row = store.get(id);
        if (row?.status === "Completed")
          return json(200, row.output === null ? null : JSON.parse(row.output));
        if (row !== undefined && isFinished(row.status)) {
          return json(row.status === "Failed" ? 500 : 200, statusDocument(row, SHOW_ALL, []));
        }
        const leftMs = endsAt - performance.now();
        if (leftMs <= 0) break;
        await sleep(Math.min(leftMs, Math.max(10, intervalS * 1000)));
      }
    }
    const links = this.#links(request, id);
    return json(202, links, [
      ["location", links["statusQueryGetUri"] ?? ""],
      ["retry-after", "10"],
    ]);
  }

  #links(request: Request, id: string): Record<string, string> {
    const code = this.#key === undefined ? "" : `&code=${encodeURIComponent(this.#key)}`;
    const required = `taskHub=${this.#hubName}&connection=Storage${code}`;
    return managementUrls(
      `${request.url.origin}${WEBHOOK_PATH}/instances/${encodeURIComponent(id)}`,
      id,
      required,
    );
  }

  #instances(request: Request): Response {
    const filter = readFilter(request);
    if (typeof filter === "string") return problem(400, filter);
    const { db } = this.#engine.context;
    if (request.method === "DELETE") {
      if (filter.createdFrom === undefined)
        return problem(400, "Please provide value for 'createdTimeFrom' parameter.");
      const deleted = purgeInstances(this.#engine.context, {
        ...filter,
        statuses: filter.statuses ?? FINISHED,
      });
      return deleted === 0 ? { status: 404 } : json(200, { instancesDeleted: deleted });
    }
    if (request.method !== "GET") return { status: 404 };
    const top = Number(query(request, "top") ?? DEFAULT_PAGE);
    if (!Number.isInteger(top) || top < 1) return problem(400, "'top' must be a positive whole number.");
    const token = readToken(request.headers["x-ms-continuation-token"]);
    if (token === "bad")
      return problem(400, "The continuation token can't be read; start again without one.");
    const { rows, next } = listInstances(db, filter, top, token);
    const options = { ...SHOW_ALL, showInput: query(request, "showInput")?.toLowerCase() !== "false" };
    const documents = rows.map((row) => statusDocument(row, options, []));
    return json(200, documents, next === undefined ? [] : [["x-ms-continuation-token", writeToken(next)]]);
  }

  #instance(request: Request, id: string): Response {
    const { store } = this.#engine.context;
    if (request.method === "DELETE") {
      const deleted = this.#commands.purge(id);
      this.#engine.orchestrations.forget(id);
      return deleted === 0 ? { status: 404 } : json(200, { instancesDeleted: deleted });
    }
    const row = store.get(id);
    if (request.method !== "GET" || row === undefined) return { status: 404 };
    const isShown = (name: string, otherwise: boolean): boolean =>
      query(request, name)?.toLowerCase() === "true" || (query(request, name) === undefined && otherwise);
    const options = {
      showInput: isShown("showInput", true),
      showHistory: isShown("showHistory", false),
      showHistoryOutput: isShown("showHistoryOutput", false),
    };
    const document = statusDocument(row, options, options.showHistory ? store.history(id) : []);
    if (!isFinished(row.status)) {
      return json(202, document, [
        ["location", this.#links(request, id)["statusQueryGetUri"] ?? ""],
        ["retry-after", "5"],
      ]);
    }
    const isError = row.status === "Failed" && isShown("returnInternalServerErrorOnFailure", false);
    return json(isError ? 500 : 200, document);
  }

  async #operate(
    request: Request,
    id: string,
    operation: string,
    eventName: string | undefined,
  ): Promise<Response> {
    const reason = query(request, "reason") ?? "";
    switch (operation) {
      case "raiseevent": {
        if (eventName === undefined) return { status: 404 };
        if (!/^application\/json\b/i.test(request.headers["content-type"] ?? "")) {
          return problem(400, "Only application/json request content is supported");
        }
        const data = bodyJson(request);
        if (data === undefined) return problem(400, "Invalid JSON content");
        return answerTo(this.#commands.raiseEvent(id, eventName, data));
      }
      case "terminate":
        return answerTo(this.#commands.terminate(id, reason));
      case "suspend":
        return answerTo(this.#commands.suspend(id, reason));
      case "resume":
        return answerTo(this.#commands.resume(id, reason));
      case "rewind": {
        const result = await rewindInstance(this.#engine, id, reason);
        if (result === "not-failed")
          return problem(412, "The rewind operation is only supported on failed orchestration instances.");
        return answerTo(result);
      }
      case "restart": {
        const withNewId = query(request, "restartWithNewInstanceId")?.toLowerCase() !== "false";
        const result = this.#commands.restart(id, withNewId);
        if ("id" in result) return this.#startedOrDone(request, result.id);
        return result.refused === "not-found"
          ? problem(404, `No instance with ID '${id}' found.`)
          : problem(
              409,
              `The instance '${id}' is still running; terminate it first, or restart it with a new id.`,
            );
      }
      default:
        return { status: 404 };
    }
  }

  #entities(request: Request, name: string | undefined, givenKey: string): Response {
    const { db } = this.#engine.context;
    if (givenKey === "" && request.method === "GET") {
      const prefix = name === undefined ? "@" : `@${name.toLowerCase()}@`;
      const rows = db.all<EntityRow>(
        "SELECT * FROM entities WHERE substr(id, 1, ?) = ? AND state IS NOT NULL ORDER BY id LIMIT 1000",
        prefix.length,
        prefix,
      );
      const isFull = query(request, "fetchState")?.toLowerCase() === "true";
      return json(
        200,
        rows.map((row) => {
          const entity = parseEntityId(row.id);
          return {
            entityId: { name: entity?.name ?? "", key: entity?.key ?? "" },
            lastOperationTime: new Date(row.updated).toISOString(),
            ...(isFull ? { state: parseState(row.state) } : {}),
          };
        }),
      );
    }
    if (name === undefined || givenKey === "") return { status: 404 };
    const key = givenKey === "$" ? "" : givenKey;
    if (request.method === "GET") {
      const row = db.get<EntityRow>("SELECT * FROM entities WHERE id = ?", formatEntityId({ name, key }));
      return row === undefined || row.state === null ? { status: 404 } : json(200, parseState(row.state));
    }
    if (request.method !== "POST" && request.method !== "DELETE") return { status: 404 };
    const operation = request.method === "DELETE" ? "delete" : (query(request, "op") ?? "");
    const isJson = /^application\/json\b/i.test(request.headers["content-type"] ?? "");
    const text = request.body.toString("utf8");
    const input = text === "" ? null : isJson ? bodyJson(request) : JSON.stringify(text);
    if (input === undefined) return problem(400, "Could not parse JSON content");
    const at = query(request, "scheduledTime");
    const atMs = at === undefined ? undefined : Date.parse(at);
    if (Number.isNaN(atMs)) return problem(400, "'scheduledTime' is not a date");
    this.#commands.signalEntity({ name, key }, operation, input, atMs);
    return { status: 202 };
  }
}

const SHOW_ALL = { showInput: true, showHistory: false, showHistoryOutput: false };

function answerTo(result: CommandResult): Response {
  switch (result) {
    case "accepted":
      return { status: 202 };
    case "not-found":
      return { status: 404 };
    case "finished":
      return { status: 410 };
  }
}

function parseState(state: string | null): unknown {
  return state === null || state === "" ? null : JSON.parse(state);
}
