import { setTimeout as sleep } from "node:timers/promises";
import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import * as z from "zod";
import { BackupError } from "../errors/index.ts";
import { readHostJson, type HostJson } from "./app/host-json.ts";
import { loadApp } from "./app/load-app.ts";
import { readAppSettings, resolveSettings } from "./app/settings.ts";
import { Busy } from "./busy.ts";
import { monotonic, systemClock, type Clock } from "./clock.ts";
import type { FunctionRegistry, RegisteredFunction } from "./core/function-registry.ts";
import { invoke } from "./core/invoke.ts";
import type { InvocationRequest, TypedData } from "./core/rpc.ts";
import { clientBinding, WEBHOOK_PATH, type ClientBinding } from "./durable/client-binding.ts";
import { Database } from "./durable/database.ts";
import { DurableEngine } from "./durable/engine.ts";
import { ManagementApi } from "./durable/management-api.ts";
import { withTimeout } from "./durable/timeout.ts";
import { callHttpFunction } from "./http/function-endpoint.ts";
import { opens, readKeys, type AuthLevel, type Keys } from "./http/keys.ts";
import {
  BodyTooLarge,
  json,
  problem,
  readRequest,
  writeResponse,
  type Request,
  type Response,
} from "./http/message.ts";
import { matchRoute, parseRoute, type Route } from "./http/router.ts";
import type { LogSink } from "./log.ts";
import { TimerTriggers } from "./timers/timer-triggers.ts";

export interface HostOptions {
  /** The folder of the app's package.json and host.json. */
  readonly appDirectory: string;
  /** Where history, keys and the lock are kept; made when absent. One host at a time. */
  readonly dataDirectory: string;
  /** 0, the default, takes a free port. */
  readonly port?: number;
  /** The address to listen on; 127.0.0.1 by default. */
  readonly host?: string;
  /** Settings that override local.settings.json and the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** `"off"` opens every door: only for a trial on a loopback address. */
  readonly auth?: "keys" | "off";
  readonly log?: LogSink;
  readonly clock?: Clock;
  /** Finished instances older than this are removed; never by default. */
  readonly purgeAfterMs?: number;
  /** How long `close` waits for what runs. */
  readonly graceMs?: number;
  /** How often the process may die while it runs one message before that is parked. */
  readonly maxDeliveries?: number;
}

export interface FunctionListing {
  readonly name: string;
  /** Such as `httpTrigger`. */
  readonly trigger: string;
  /** For HTTP triggers. */
  readonly methods?: readonly string[];
  readonly url?: string;
  readonly authLevel?: string;
}

export interface RunningHost extends AsyncDisposable {
  /** Such as `http://127.0.0.1:7071`. */
  readonly url: string;
  readonly functions: readonly FunctionListing[];
  /** Undefined when keys are off. */
  readonly keys: Keys | undefined;
  /** The management API, with its key in it when there is one: `${managementUrl("instances/abc")}`. */
  managementUrl(pathAndQuery: string): string;
  /** Resolves when nothing is under way: everything waits for time or for the outside. */
  whenIdle(): Promise<void>;
  /** Lets what runs come to its end within the grace time, and ends. */
  close(): Promise<void>;
}

const HttpBinding = z.object({
  route: z.string().optional(),
  methods: z.array(z.string()).default(["GET", "POST"]),
  authLevel: z.enum(["anonymous", "function", "admin"]).default("anonymous"),
});

interface HttpTarget {
  readonly fn: RegisteredFunction;
  readonly level: AuthLevel;
}

const DEFAULT_BODY_LIMIT = 100 * 1024 * 1024;
const DEFAULT_GRACE_MS = 10_000;
const DEFAULT_MAX_DELIVERIES = 10;
const PURGE_EVERY_MS = 60 * 60 * 1000;

/**
 * Runs a Functions app (Node model v4, with durable-functions) in this process.
 *
 * @throws BackupError HOST_APP_INVALID, HOST_DATA_IN_USE, HOST_DATA_INVALID, HOST_ADDRESS_IN_USE, INPUT_INVALID
 */
export async function startHost(options: HostOptions): Promise<RunningHost> {
  const host = options.host ?? "127.0.0.1";
  if (options.auth === "off" && !/^(127\.|localhost$|::1$)/.test(host)) {
    throw new BackupError(
      "INPUT_INVALID",
      `Keys can only be switched off on a loopback address, not on ${host}; leave keys on, or listen on 127.0.0.1.`,
    );
  }
  await using cleanup = new AsyncDisposableStack();
  const settings = await readAppSettings(options.appDirectory, options.env ?? {}, process.env);
  const hostJson = await readHostJson(options.appDirectory, settings);
  const db = cleanup.use(await Database.open(options.dataDirectory));
  const keys = options.auth === "off" ? undefined : await readKeys(options.dataDirectory);
  const server = createServer({ requestTimeout: 0 });
  server.on("request", answerNotReady);
  const origin = await listen(server, host, options.port ?? 0);
  cleanup.defer(() => closeServer(server));
  cleanup.defer(
    applySettings({
      ...settings,
      WEBSITE_HOSTNAME: options.env?.["WEBSITE_HOSTNAME"] ?? new URL(origin).host,
    }),
  );
  const log = options.log ?? (() => undefined);
  const registry = await loadApp(options.appDirectory, log);
  warnOfWhatIsNotRun(registry, settings, log);
  const running = new Host({ ...options, log }, { settings, hostJson, db, keys, server, origin, registry });
  await running.start();
  const owned = cleanup.move();
  running.onClosed(() => owned.disposeAsync());
  return running;
}

interface Parts {
  readonly settings: Readonly<Record<string, string>>;
  readonly hostJson: HostJson;
  readonly db: Database;
  readonly keys: Keys | undefined;
  readonly server: Server;
  readonly origin: string;
  readonly registry: FunctionRegistry;
}

class Host implements RunningHost {
  readonly url: string;
  readonly functions: readonly FunctionListing[];
  readonly keys: Keys | undefined;
  readonly #parts: Parts;
  readonly #options: HostOptions & { readonly log: LogSink };
  readonly #clock: Clock;
  readonly #busy: Busy;
  readonly #engine: DurableEngine;
  readonly #api: ManagementApi;
  readonly #timers: TimerTriggers;
  readonly #routes: Route<HttpTarget>[];
  readonly #bodyLimit: number;
  readonly #rpcSecret = randomBytes(24).toString("base64url");
  readonly #binding: ClientBinding;
  #whenClosed: () => Promise<void> = () => Promise.resolve();
  #closing: Promise<void> | undefined;

  constructor(options: HostOptions & { readonly log: LogSink }, parts: Parts) {
    const { registry, hostJson, db, keys, origin, settings } = parts;
    this.#parts = parts;
    this.#options = options;
    this.url = origin;
    this.keys = keys;
    this.#clock = monotonic(options.clock ?? systemClock);
    this.#bodyLimit = Number(settings["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"] ?? DEFAULT_BODY_LIMIT);
    this.#busy = new Busy(() => this.#clock.onIdle?.());
    const { durableTask } = hostJson.extensions;
    const { log } = options;
    this.#engine = new DurableEngine({
      db,
      registry,
      clock: this.#clock,
      log,
      settings: durableTask,
      functionTimeoutMs: hostJson.functionTimeout,
      busy: this.#busy,
      maxDeliveries: options.maxDeliveries ?? DEFAULT_MAX_DELIVERIES,
    });
    const systemKey = keys?.system.durabletask_extension;
    this.#api = new ManagementApi(this.#engine, durableTask.hubName, systemKey);
    this.#binding = clientBinding({
      origin,
      hubName: durableTask.hubName,
      key: systemKey,
      rpcBaseUrl: `${loopbackOrigin(origin)}/durabletask/${this.#rpcSecret}/`,
    });
    this.#routes = httpRoutes(registry, hostJson.extensions.http.routePrefix, settings);
    this.functions = listFunctions(registry, this.#routes, origin);
    this.#timers = new TimerTriggers({
      registry,
      db,
      clock: this.#clock,
      busy: this.#busy,
      log,
      settings,
      isDisabled: (name) => isDisabled(name, settings),
      call: (fn, data) => this.#callWithRetry(fn, data),
    });
  }

  async start(): Promise<void> {
    const { server, registry } = this.#parts;
    for (const hook of registry.hooks.appStart) await hook({ hookData: {} });
    server.off("request", answerNotReady);
    server.on("request", (incoming, outgoing) => void this.#serve(incoming, outgoing));
    this.#engine.start();
    this.#timers.start();
    this.#schedulePurge();
  }

  onClosed(callback: () => Promise<void>): void {
    this.#whenClosed = callback;
  }

  managementUrl(pathAndQuery: string): string {
    const url = new URL(`${this.url}${WEBHOOK_PATH}/${pathAndQuery}`);
    if (this.keys !== undefined) url.searchParams.set("code", this.keys.system.durabletask_extension);
    return url.href;
  }

  whenIdle(): Promise<void> {
    return this.#busy.whenIdle();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#withdrawPurge();
    this.#timers.stop();
    await this.#engine.stop(this.#options.graceMs ?? DEFAULT_GRACE_MS);
    for (const hook of this.#parts.registry.hooks.appTerminate) await hook({ hookData: {} });
    await this.#whenClosed();
  }

  #withdrawPurge: () => void = () => undefined;

  #schedulePurge(): void {
    const { purgeAfterMs } = this.#options;
    if (purgeAfterMs === undefined) return;
    const nowMs = this.#clock.now();
    const removed = this.#engine.purgeFinishedBefore(nowMs - purgeAfterMs);
    if (removed > 0)
      this.#options.log({
        level: "information",
        category: "host",
        message: `Removed ${removed} finished instances older than the purge policy.`,
      });
    this.#withdrawPurge = this.#clock.wakeAt(nowMs + PURGE_EVERY_MS, () => {
      this.#schedulePurge();
    });
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const leave = this.#busy.enter();
    try {
      const request = await readRequest(incoming, this.url, this.#bodyLimit);
      writeResponse(outgoing, await this.#answer(request));
    } catch (error) {
      if (error instanceof BodyTooLarge) {
        outgoing.setHeader("connection", "close");
        writeResponse(
          outgoing,
          problem(
            413,
            `The request body is larger than ${this.#bodyLimit} bytes; raise the setting FUNCTIONS_REQUEST_BODY_SIZE_LIMIT.`,
          ),
        );
      } else {
        this.#options.log({
          level: "error",
          category: "host",
          message: `A request failed inside the host: ${String(error)}`,
        });
        if (outgoing.headersSent) outgoing.destroy();
        else writeResponse(outgoing, { status: 500 });
      }
    } finally {
      leave();
    }
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = request.url;
    if (this.keys === undefined && !isFromThisMachine(request)) return { status: 403 };
    const rpc = `/durabletask/${this.#rpcSecret}/`;
    if (pathname.startsWith(rpc)) return this.#api.handle(request, pathname.slice(rpc.length));
    if (pathname === WEBHOOK_PATH || pathname.startsWith(`${WEBHOOK_PATH}/`)) {
      if (!this.#isAllowed(request, "system", "")) return { status: 401 };
      return this.#api.handle(request, pathname.slice(WEBHOOK_PATH.length));
    }
    if (pathname.startsWith("/admin/")) return this.#admin(request, pathname.slice("/admin/".length));
    if (pathname === "/")
      return {
        status: 200,
        headers: [["content-type", "text/plain"]],
        body: "The Functions host is running.\n",
      };
    const match = matchRoute(this.#routes, request.method, pathname.slice(1));
    if (match === undefined) return { status: 404 };
    const { fn, level } = match.route.target;
    if (!this.#isAllowed(request, level, fn.metadata.name)) return { status: 401 };
    return callHttpFunction(
      this.#parts.registry,
      fn,
      request,
      match.parameters,
      this.#clientInputs(fn),
      this.#options.log,
    );
  }

  #isAllowed(request: Request, level: AuthLevel, functionName: string): boolean {
    if (this.keys === undefined) return true;
    const given = request.headers["x-functions-key"] ?? request.url.searchParams.get("code") ?? undefined;
    return opens(this.keys, given, level, functionName);
  }

  #admin(request: Request, area: string): Response {
    if (!this.#isAllowed(request, "admin", "")) return { status: 401 };
    const [, name] = /^functions\/([^/]+)$/.exec(area) ?? [];
    if (area === "host/ping") return { status: 200 };
    if (area === "host/status") {
      return json(200, {
        id: path.basename(this.#options.appDirectory),
        state: "Running",
        version: "4.1000.0",
        processUptime: Math.round(process.uptime() * 1000),
      });
    }
    if (area === "functions") return json(200, this.functions);
    if (area === "host/parked") return json(200, this.#engine.context.store.parked());
    if (name === undefined) return { status: 404 };
    const fn = this.#parts.registry.functions.get(decodeURIComponent(name).toLowerCase());
    if (fn === undefined) return { status: 404 };
    if (request.method === "GET")
      return json(
        200,
        this.functions.find((each) => each.name === fn.metadata.name),
      );
    if (request.method !== "POST") return { status: 405 };
    if (fn.triggerType !== "timertrigger") {
      return problem(
        400,
        `Only timer functions can be run by hand here; '${fn.metadata.name}' has a ${fn.triggerType}.`,
      );
    }
    const info = { Schedule: { AdjustForDST: true }, ScheduleStatus: null, IsPastDue: false };
    void this.#busy.during(() =>
      this.#callWithRetry(fn, { json: JSON.stringify(info) }).catch((error: unknown) => {
        this.#options.log({
          level: "error",
          category: "host",
          functionName: fn.metadata.name,
          message: `Function '${fn.metadata.name}' failed: ${String(error)}`,
        });
      }),
    );
    return { status: 202 };
  }

  #clientInputs(fn: RegisteredFunction): InvocationRequest["inputData"] {
    return Object.entries(fn.metadata.bindings)
      .filter(([, { type }]) => /^(durableClient|orchestrationClient)$/i.test(type))
      .map(([name]) => ({ name, data: { json: JSON.stringify(this.#binding) } }));
  }

  /** Runs a function that is not HTTP, with the retry policy that it was registered with. */
  async #callWithRetry(fn: RegisteredFunction, data: TypedData | null): Promise<void> {
    const policy = fn.metadata.retryOptions;
    const maxRetryCount =
      policy?.maxRetryCount === -1 ? Number.POSITIVE_INFINITY : (policy?.maxRetryCount ?? 0);
    for (let retryCount = 0; ; retryCount++) {
      try {
        const request: InvocationRequest = {
          inputData: [{ name: fn.triggerName, data }, ...this.#clientInputs(fn)],
          triggerMetadata: {},
          ...(retryCount > 0 && policy !== undefined
            ? { retryContext: { retryCount, maxRetryCount: policy.maxRetryCount ?? 0 } }
            : {}),
        };
        const call = invoke(this.#parts.registry, fn, request, this.#options.log);
        await withTimeout(call, this.#parts.hostJson.functionTimeout, fn.metadata.name);
        return;
      } catch (error) {
        if (retryCount >= maxRetryCount || this.#closing !== undefined) throw error;
        const isExponential = policy?.retryStrategy === "exponentialBackoff";
        const first = (isExponential ? policy.minimumInterval?.seconds : policy?.delayInterval?.seconds) ?? 0;
        const delayS = isExponential
          ? Math.min(first * 2 ** retryCount, policy.maximumInterval?.seconds ?? first)
          : first;
        await sleep(delayS * 1000);
      }
    }
  }
}

function httpRoutes(
  registry: FunctionRegistry,
  prefix: string,
  settings: Readonly<Record<string, string>>,
): Route<HttpTarget>[] {
  const enabled = registry
    .ofType("httptrigger")
    .filter(({ metadata }) => !isDisabled(metadata.name, settings));
  return enabled.map((fn) => {
    const { name } = fn.metadata;
    const binding = HttpBinding.parse(fn.metadata.bindings[fn.triggerName]);
    const route = resolveSettings(binding.route ?? name, settings, `HTTP function "${name}"`).replace(
      /^\/+/,
      "",
    );
    const template = prefix === "" ? route : `${prefix.replace(/^\/+|\/+$/g, "")}/${route}`;
    try {
      return parseRoute(template, binding.methods, { fn, level: binding.authLevel });
    } catch (error) {
      throw new BackupError(
        "HOST_APP_INVALID",
        `Function "${name}": ${String(error instanceof Error ? error.message : error)}; correct its route.`,
        { cause: error },
      );
    }
  });
}

function listFunctions(
  registry: FunctionRegistry,
  routes: readonly Route<HttpTarget>[],
  origin: string,
): FunctionListing[] {
  return [...registry.functions.values()].map(({ metadata, triggerName }) => {
    const trigger = metadata.bindings[triggerName]?.type ?? "";
    const route = routes.find(({ target }) => target.fn.metadata.name === metadata.name);
    if (route === undefined) return { name: metadata.name, trigger };
    return {
      name: metadata.name,
      trigger,
      methods: route.methods,
      url: `${origin}/${route.template}`,
      authLevel: route.target.level,
    };
  });
}

async function listen(server: Server, host: string, port: number): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      reject(
        new BackupError(
          "HOST_ADDRESS_IN_USE",
          `Can't listen on ${host}:${port} (${error.code ?? error.message}); choose another --port, or stop what listens there.`,
          {
            retry: "after-operator",
            cause: error,
          },
        ),
      );
    });
    server.listen(port, host, resolve);
  });
  const { address, port: actual, family } = server.address() as AddressInfo;
  const shown =
    address === "0.0.0.0" || address === "::" ? "localhost" : family === "IPv6" ? `[${address}]` : address;
  return `http://${shown}:${actual}`;
}

function loopbackOrigin(origin: string): string {
  return origin.replace("//localhost:", "//127.0.0.1:");
}

async function closeServer(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => {
      resolve();
    });
    server.closeIdleConnections();
    setTimeout(() => {
      server.closeAllConnections();
    }, 1000).unref();
  });
}

/** Puts the settings where the app looks for them. @returns puts everything back */
function applySettings(settings: Readonly<Record<string, string>>): () => void {
  const changed = Object.entries(settings).filter(([name, value]) => process.env[name] !== value);
  const before = changed.map(([name]) => [name, process.env[name]] as const);
  for (const [name, value] of changed) process.env[name] = value;
  return () => {
    for (const [name, value] of before) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  };
}

const RUN_HERE = ["httptrigger", "timertrigger", "orchestrationtrigger", "activitytrigger", "entitytrigger"];

/** A person should not wait for what this host does not have. */
function warnOfWhatIsNotRun(
  registry: FunctionRegistry,
  settings: Readonly<Record<string, string>>,
  log: LogSink,
): void {
  const warn = (message: string): void => {
    log({ level: "warning", category: "host", message });
  };
  for (const { metadata, triggerType } of registry.functions.values()) {
    if (!RUN_HERE.includes(triggerType))
      warn(`Function '${metadata.name}' is not run: this host has no ${triggerType}.`);
    else if (isDisabled(metadata.name, settings))
      warn(`Function '${metadata.name}' is disabled by a setting.`);
    const outputs = Object.values(metadata.bindings).filter(
      ({ type, direction }) => direction === "out" && type.toLowerCase() !== "http",
    );
    for (const { type } of outputs)
      warn(`What function '${metadata.name}' gives to its ${type} output is dropped: this host has none.`);
  }
}

/** As in Azure: the setting `AzureWebJobs.NAME.Disabled`. */
function isDisabled(functionName: string, settings: Readonly<Record<string, string>>): boolean {
  return /^(true|1)$/i.test(settings[`AzureWebJobs.${functionName}.Disabled`] ?? "");
}

/** While the app loads. */
function answerNotReady(_: IncomingMessage, outgoing: ServerResponse): void {
  writeResponse(outgoing, { status: 503, headers: [["retry-after", "1"]] });
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
