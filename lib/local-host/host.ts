import { randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import { BackupError } from "../errors/index.ts";
import { readHostJson, type HostJson } from "./app/host-json.ts";
import { loadApp } from "./app/load-app.ts";
import { applySettings } from "./app/process-settings.ts";
import { readAppSettings } from "./app/settings.ts";
import { isDisabled, warnOfWhatIsNotRun } from "./app/startup-checks.ts";
import { Busy } from "./busy.ts";
import { monotonic, systemClock, type Clock } from "./clock.ts";
import { FunctionCaller } from "./core/function-caller.ts";
import type { FunctionRegistry } from "./core/function-registry.ts";
import { clientBinding, WEBHOOK_PATH } from "./durable/client-binding.ts";
import { Database } from "./durable/database.ts";
import { DurableEngine } from "./durable/engine.ts";
import { ManagementApi } from "./durable/management-api.ts";
import { FrontDoor } from "./http/front-door.ts";
import { httpRoutes, listFunctions, type FunctionListing } from "./http/function-routes.ts";
import { readKeys, type Keys } from "./http/keys.ts";
import { answerNotReady, closeServer, listen, loopbackOrigin } from "./http/listen.ts";
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
  const settings = await readAppSettings(options.appDirectory, options.env ?? {}, process.env);
  const hostJson = await readHostJson(options.appDirectory, settings);
  const owned = new Cleanup();
  try {
    const db = await Database.open(options.dataDirectory);
    owned.defer(() => {
      db[Symbol.dispose]();
    });
    const keys = options.auth === "off" ? undefined : await readKeys(options.dataDirectory);
    const server = createServer({ requestTimeout: 0 });
    server.on("request", answerNotReady);
    const origin = await listen(server, host, options.port ?? 0);
    owned.defer(() => closeServer(server));
    const hostname = options.env?.["WEBSITE_HOSTNAME"] ?? new URL(origin).host;
    owned.defer(applySettings({ ...settings, WEBSITE_HOSTNAME: hostname }));
    const log = options.log ?? (() => undefined);
    const registry = await loadApp(options.appDirectory, log);
    warnOfWhatIsNotRun(registry, settings, log);
    const parts: Parts = { settings, hostJson, db, keys, server, origin, registry };
    const running = new Host({ ...options, log }, parts, () => owned.run());
    await running.start();
    return running;
  } catch (error) {
    await owned.run();
    throw error;
  }
}

/** What was opened, closed in the opposite order. (AsyncDisposableStack does this from Node 24 on.) */
class Cleanup {
  readonly #steps: (() => Promise<void> | void)[] = [];

  defer(step: () => Promise<void> | void): void {
    this.#steps.push(step);
  }

  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) await step();
  }
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
  readonly #caller: FunctionCaller;
  readonly #engine: DurableEngine;
  readonly #timers: TimerTriggers;
  readonly #door: FrontDoor;
  #withdrawPurge: () => void = () => undefined;
  readonly #whenClosed: () => Promise<void>;
  #closing: Promise<void> | undefined;

  /** @param whenClosed gives back what the host was given */
  constructor(
    options: HostOptions & { readonly log: LogSink },
    parts: Parts,
    whenClosed: () => Promise<void>,
  ) {
    const { registry, hostJson, db, keys, origin, settings } = parts;
    const { log } = options;
    const { durableTask, http } = hostJson.extensions;
    this.#parts = parts;
    this.#whenClosed = whenClosed;
    this.#options = options;
    this.url = origin;
    this.keys = keys;
    const clock = monotonic(options.clock ?? systemClock);
    const busy = new Busy(() => clock.onIdle?.());
    this.#clock = clock;
    this.#busy = busy;
    const key = keys?.system.durabletask_extension;
    const rpcPath = `/durabletask/${randomBytes(24).toString("base64url")}/`;
    const caller = new FunctionCaller({
      registry,
      log,
      timeoutMs: hostJson.functionTimeout,
      clientBinding: clientBinding({
        origin,
        hubName: durableTask.hubName,
        key,
        rpcBaseUrl: `${loopbackOrigin(origin)}${rpcPath}`,
      }),
    });
    this.#caller = caller;
    const maxDeliveries = options.maxDeliveries ?? DEFAULT_MAX_DELIVERIES;
    const engine = new DurableEngine({
      db,
      registry,
      caller,
      clock,
      log,
      settings: durableTask,
      busy,
      maxDeliveries,
    });
    this.#engine = engine;
    const routes = httpRoutes(registry, http.routePrefix, settings);
    this.functions = listFunctions(registry, routes, origin);
    this.#door = new FrontDoor({
      registry,
      caller,
      api: new ManagementApi(engine, durableTask.hubName, key),
      busy,
      log,
      routes,
      functions: this.functions,
      keys,
      origin,
      rpcPath,
      bodyLimitBytes: Number(settings["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"] ?? DEFAULT_BODY_LIMIT),
      appDirectory: options.appDirectory,
      parked: () => engine.context.store.parked(),
    });
    this.#timers = new TimerTriggers({
      registry,
      db,
      clock,
      busy,
      log,
      settings,
      isDisabled: (name) => isDisabled(name, settings),
      call: (fn, data) => caller.callWithRetry(fn, data),
    });
  }

  async start(): Promise<void> {
    const { server, registry } = this.#parts;
    for (const hook of registry.hooks.appStart) await hook({ hookData: {} });
    server.off("request", answerNotReady);
    server.on("request", (incoming, outgoing) => void this.#door.serve(incoming, outgoing));
    this.#engine.start();
    this.#timers.start();
    this.#schedulePurge();
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
    this.#caller.stop();
    await this.#engine.stop(this.#options.graceMs ?? DEFAULT_GRACE_MS);
    for (const hook of this.#parts.registry.hooks.appTerminate) await hook({ hookData: {} });
    await this.#whenClosed();
  }

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
    const again = (): void => {
      const leave = this.#busy.enter();
      this.#schedulePurge();
      leave();
    };
    this.#withdrawPurge = this.#clock.wakeAt(nowMs + PURGE_EVERY_MS, again, "routine");
  }
}
