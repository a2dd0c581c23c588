import type { IncomingMessage, ServerResponse } from "node:http";
import path from "node:path";
import type { Busy } from "../busy.ts";
import type { FunctionCaller } from "../core/function-caller.ts";
import type { FunctionRegistry } from "../core/function-registry.ts";
import { WEBHOOK_PATH } from "../durable/client-binding.ts";
import type { ManagementApi } from "../durable/management-api.ts";
import type { LogSink } from "../log.ts";
import { callHttpFunction } from "./function-endpoint.ts";
import type { FunctionListing, HttpTarget } from "./function-routes.ts";
import { opens, type AuthLevel, type Keys } from "./keys.ts";
import {
  BodyTooLarge,
  json,
  problem,
  readRequest,
  writeResponse,
  type Request,
  type Response,
} from "./message.ts";
import { matchRoute, type Route } from "./router.ts";

export interface FrontDoorOptions {
  readonly registry: FunctionRegistry;
  readonly caller: FunctionCaller;
  readonly api: ManagementApi;
  readonly busy: Busy;
  readonly log: LogSink;
  readonly routes: readonly Route<HttpTarget>[];
  readonly functions: readonly FunctionListing[];
  /** Undefined opens every door to programs of this machine. */
  readonly keys: Keys | undefined;
  readonly origin: string;
  /** The path, with a secret in it, where the app's own durable client calls. */
  readonly rpcPath: string;
  readonly bodyLimitBytes: number;
  readonly appDirectory: string;
  /** What is shown as parked work. */
  readonly parked: () => unknown;
}

/** Decides who may have what, and hands requests to functions, the management API and the admin API. */
export class FrontDoor {
  readonly #options: FrontDoorOptions;

  constructor(options: FrontDoorOptions) {
    this.#options = options;
  }

  async serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { busy, origin, bodyLimitBytes, log } = this.#options;
    const leave = busy.enter();
    try {
      const request = await readRequest(incoming, origin, bodyLimitBytes);
      writeResponse(outgoing, await this.#answer(request));
    } catch (error) {
      if (error instanceof BodyTooLarge) {
        outgoing.setHeader("connection", "close");
        const advice = "raise the setting FUNCTIONS_REQUEST_BODY_SIZE_LIMIT";
        writeResponse(
          outgoing,
          problem(413, `The request body is larger than ${bodyLimitBytes} bytes; ${advice}.`),
        );
        return;
      }
      log({
        level: "error",
        category: "host",
        message: `A request failed inside the host: ${String(error)}`,
      });
      if (outgoing.headersSent) outgoing.destroy();
      else writeResponse(outgoing, { status: 500 });
    } finally {
      leave();
    }
  }

  async #answer(request: Request): Promise<Response> {
    const { keys, rpcPath, api, routes, caller, log } = this.#options;
    const { pathname } = request.url;
    if (keys === undefined && !isFromThisMachine(request)) return { status: 403 };
    if (pathname.startsWith(rpcPath)) return api.handle(request, pathname.slice(rpcPath.length));
    if (pathname === WEBHOOK_PATH || pathname.startsWith(`${WEBHOOK_PATH}/`)) {
      if (!this.#isAllowed(request, "system", "")) return { status: 401 };
      return api.handle(request, pathname.slice(WEBHOOK_PATH.length));
    }
    if (pathname.startsWith("/admin/")) return this.#admin(request, pathname.slice("/admin/".length));
    if (pathname === "/") {
      return {
        status: 200,
        headers: [["content-type", "text/plain"]],
        body: "The Functions host is running.\n",
      };
    }
    const match = matchRoute(routes, request.method, pathname.slice(1));
    if (match === undefined) return { status: 404 };
    const { fn, level } = match.route.target;
    if (!this.#isAllowed(request, level, fn.metadata.name)) return { status: 401 };
    return callHttpFunction(caller, fn, request, match.parameters, log);
  }

  #isAllowed(request: Request, level: AuthLevel, functionName: string): boolean {
    const { keys } = this.#options;
    if (keys === undefined) return true;
    const given = request.headers["x-functions-key"] ?? request.url.searchParams.get("code") ?? undefined;
    return opens(keys, given, level, functionName);
  }

  #admin(request: Request, area: string): Response {
    const { registry, functions, appDirectory, parked } = this.#options;
    if (!this.#isAllowed(request, "admin", "")) return { status: 401 };
    switch (area) {
      case "host/ping":
        return { status: 200 };
      case "host/status":
        return json(200, {
          id: path.basename(appDirectory),
          state: "Running",
          version: "4.1000.0",
          processUptime: Math.round(process.uptime() * 1000),
        });
      case "host/parked":
        return json(200, parked());
      case "functions":
        return json(200, functions);
      default: {
        const [, name = ""] = /^functions\/([\w-]+)$/.exec(area) ?? [];
        const fn = registry.functions.get(name.toLowerCase());
        const listing = functions.find((each) => each.name === fn?.metadata.name);
        if (fn === undefined || listing === undefined) return { status: 404 };
        if (request.method === "GET") return json(200, listing);
        return request.method === "POST" ? this.#runByHand(listing) : { status: 405 };
      }
    }
  }

  /** Starts a timer function now and answers at once. */
  #runByHand({ name, trigger }: FunctionListing): Response {
    const { registry, caller, busy, log } = this.#options;
    const fn = registry.find(name, "timertrigger");
    if (fn === undefined) {
      return problem(400, `Only timer functions can be run by hand here; '${name}' has a ${trigger}.`);
    }
    const info = { Schedule: { AdjustForDST: true }, ScheduleStatus: null, IsPastDue: false };
    void busy.during(async () => {
      try {
        await caller.callWithRetry(fn, { json: JSON.stringify(info) });
      } catch (error) {
        log({
          level: "error",
          category: "host",
          functionName: name,
          message: `Function '${name}' failed: ${String(error)}`,
        });
      }
    });
    return { status: 202 };
  }
}

/**
 * With keys off, a page in a browser on this machine must not get through: neither under a foreign name that resolves to
 * a loopback address, nor from another origin.
 */
function isFromThisMachine(request: Request): boolean {
  const isLoopback = (name: string): boolean => /^(127(\.\d+){3}|localhost|\[::1\])(:\d+)?$/i.test(name);
  const origin = request.headers["origin"];
  return (
    isLoopback(request.headers["host"] ?? "") &&
    (origin === undefined || isLoopback(origin.replace(/^https?:\/\//, "")))
  );
}
