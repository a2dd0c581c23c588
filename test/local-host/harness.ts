import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { startHost, type HostOptions, type RunningHost } from "../../lib/local-host/index.ts";

export interface StatusDocument {
  readonly name: string;
  readonly instanceId: string;
  readonly runtimeStatus: string;
  readonly input: unknown;
  readonly output: unknown;
  readonly customStatus: unknown;
  readonly createdTime: string;
  readonly lastUpdatedTime: string;
  readonly historyEvents?: readonly Record<string, unknown>[];
}

/** A Functions host that runs one of the test apps: the embedded one, or any other that speaks HTTP. */
export class HostClient {
  readonly url: string;
  readonly key: string | undefined;
  readonly systemKey: string | undefined;

  constructor(url: string, key: string | undefined, systemKey: string | undefined) {
    this.url = url;
    this.key = key;
    this.systemKey = systemKey;
  }

  static of(host: RunningHost): HostClient {
    return new HostClient(host.url, host.keys?.host["default"], host.keys?.system.durabletask_extension);
  }

  fetch(pathAndQuery: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.key !== undefined && !headers.has("x-functions-key")) headers.set("x-functions-key", this.key);
    return fetch(`${this.url}${pathAndQuery}`, { ...init, headers });
  }

  /** The management API. */
  manage(pathAndQuery: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.systemKey !== undefined) headers.set("x-functions-key", this.systemKey);
    return fetch(`${this.url}/runtime/webhooks/durabletask/${pathAndQuery}`, { ...init, headers });
  }

  /** Starts an orchestration through the app's HTTP starter and its durable client. @returns the instance id */
  async start(name: string, input?: unknown, instanceId?: string): Promise<string> {
    const query = instanceId === undefined ? "" : `?instanceId=${instanceId}`;
    const body = input === undefined ? "" : JSON.stringify(input);
    const response = await this.fetch(`/api/orchestrators/${name}${query}`, { method: "POST", body });
    if (response.status !== 202) throw new Error(`start of ${name} answered ${response.status}`);
    const { id } = (await response.json()) as { id: string };
    return id;
  }

  async status(id: string, query = ""): Promise<StatusDocument> {
    const response = await this.manage(`instances/${id}${query}`);
    if (response.status === 404) throw new Error(`no instance ${id}`);
    return (await response.json()) as StatusDocument;
  }

  /** Polls until an instance has one of the given states. */
  async until(
    id: string,
    states: readonly string[] = ["Completed", "Failed", "Terminated"],
  ): Promise<StatusDocument> {
    for (;;) {
      const status = await this.status(id);
      if (states.includes(status.runtimeStatus)) return status;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async run(name: string, input?: unknown, instanceId?: string): Promise<StatusDocument> {
    return this.until(await this.start(name, input, instanceId));
  }

  /** Calls one method of the app's own durable client. */
  async client(method: string, ...args: unknown[]): Promise<unknown> {
    const response = await this.fetch("/api/client", {
      method: "POST",
      body: JSON.stringify({ method, args }),
    });
    const { result, error } = (await response.json()) as { result?: unknown; error?: string };
    if (error !== undefined) throw new Error(error);
    return result;
  }
}

export const appDirectory = (name: string): string => path.join(import.meta.dirname, "apps", name);

export async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const directory = await mkdtemp(path.join(tmpdir(), "local-host-"));
  return {
    path: directory,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

/** A host over a data folder of its own; both go with it. */
export async function temporaryHost(
  app: string,
  options: Partial<HostOptions> = {},
): Promise<AsyncDisposable & { readonly host: RunningHost; readonly client: HostClient }> {
  const data = await temporaryDirectory();
  const host = await startHost({ appDirectory: appDirectory(app), dataDirectory: data.path, ...options });
  return {
    host,
    client: HostClient.of(host),
    async [Symbol.asyncDispose]() {
      await host.close();
      await data[Symbol.asyncDispose]();
    },
  };
}
