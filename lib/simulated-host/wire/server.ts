import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import type { HyperVHost } from "../../agent/hyperv-host.ts";
import { BackupError, toErrorDocument } from "../../errors/index.ts";
import { Fault } from "../faults.ts";
import { RunningEstate, type HostLog } from "../host/running-estate.ts";
import { simulatedHyperVHost } from "../host/simulated-host.ts";
import { isMethod, METHODS, type Method } from "./protocol.ts";

export interface SimulatedHost {
  readonly url: string;
  /** A clean stop, in which nothing is lost. Calls that are under way come to their end first. */
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 1_048_576;

/**
 * Runs an estate and answers for it on a loopback address:
 *   POST /v1/{method}   the port (protocol.ts)
 *   GET|POST /faults    {faults: [...]}: what goes wrong from now on
 *   GET /status         counters, writers, chains: for people and tests
 *
 * @param options.port 0 or nothing takes a free one
 * @throws BackupError SIMULATED_ESTATE_INVALID, SIMULATED_ESTATE_IN_USE
 */
export async function startSimulatedHost(options: {
  readonly folder: string;
  readonly port?: number;
  readonly log?: HostLog;
}): Promise<SimulatedHost> {
  const log: HostLog = options.log ?? (() => undefined);
  const estate = await RunningEstate.start(options.folder, log);
  const host = simulatedHyperVHost(estate);
  const running = new Set<Promise<void>>();
  const server = createServer((request, response) => {
    const work = answer(estate, host, request, response)
      .catch((error: unknown) => {
        log("error", "a request failed", { error: String(error) });
        response.destroy();
      })
      .finally(() => running.delete(work));
    running.add(work);
  });
  server.requestTimeout = 0;
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(options.port ?? 0, "127.0.0.1", resolve);
    });
  } catch (error) {
    await estate.close();
    throw error;
  }
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      estate.stopping.abort();
      await Promise.allSettled(running);
      server.closeAllConnections();
      await closed;
      await estate.close();
    },
  };
}

async function answer(
  estate: RunningEstate,
  host: HyperVHost,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  let status = 200;
  let body: unknown;
  try {
    body = await route(estate, host, `${request.method ?? ""} ${pathname}`, () => readJson(request));
  } catch (error) {
    const document = toErrorDocument(error);
    if (document.code === "INTERNAL") {
      estate.log("error", document.message, { path: pathname, stack: stackOf(error) });
    }
    status = error instanceof BadRequest ? 400 : 500;
    body = document;
  }
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body ?? null));
}

async function route(
  estate: RunningEstate,
  host: HyperVHost,
  resource: string,
  readBody: () => Promise<unknown>,
): Promise<unknown> {
  switch (resource) {
    case "GET /status":
      return statusOf(estate);
    case "GET /faults":
      return { faults: estate.faults.all };
    case "POST /faults":
      estate.faults.set(parse(z.object({ faults: z.array(Fault) }), await readBody()).faults);
      return { faults: estate.faults.all };
    default: {
      const method = resource.replace("POST /v1/", "");
      if (isMethod(method)) return invoke(estate, host, method, await readBody());
      throw invalid(`there is no resource ${resource}`);
    }
  }
}

type Verbs = Readonly<Record<Method, (...args: unknown[]) => Promise<unknown>>>;

async function invoke(
  estate: RunningEstate,
  host: HyperVHost,
  method: Method,
  body: unknown,
): Promise<unknown> {
  const { faults } = estate;
  const isThis = (fault: { readonly method: string }) => fault.method === method;
  const args = parse(METHODS[method].args, body) as unknown[];
  if (faults.take("call-fails", isThis) !== undefined) {
    throw new BackupError(
      "HYPERV_CALL_FAILED",
      `${method} failed (32768); look at the VMMS event log of the host`,
      {
        retry: "later",
        facts: { method },
      },
    );
  }
  cutPower(estate, method, "before");
  const slow = faults.take("call-slow", isThis);
  // In the queue just before the call: whoever asks meanwhile what came of it waits, as for any call that is under way.
  const delay = slow === undefined ? undefined : estate.changes.run(() => pause(slow.ms, estate));
  const [result] = await Promise.all([(host as unknown as Verbs)[method](...args), delay]);
  cutPower(estate, method, "after");
  return result;
}

function pause(ms: number, { stopping }: RunningEstate): Promise<void> {
  return sleep(ms, undefined, { signal: stopping.signal }).catch(() => undefined);
}

function cutPower(estate: RunningEstate, method: Method, when: "before" | "after"): void {
  const isNow = (fault: { readonly method: string; readonly when: string }) =>
    fault.method === method && fault.when === when;
  if (estate.faults.take("power-cut", isNow) !== undefined) process.kill(process.pid, "SIGKILL");
}

function statusOf(estate: RunningEstate): object {
  const { counters } = estate.state.current;
  return {
    counters,
    lastTransaction: estate.writers?.lastTransaction ?? 0,
    writtenBytes: estate.writers?.writtenBytes ?? 0,
    writerFailure: estate.writerFailure ?? null,
    members: estate.layout.vms.map(({ vmId, name }) => ({
      vmId,
      name,
      isFrozen: estate.member(vmId).isFrozen,
    })),
    disks: estate.layout.disks.map(({ diskId, file }) => ({
      diskId,
      file,
      chain: estate.disk(diskId).chain,
    })),
  };
}

function parse<T extends z.ZodType>(schema: T, value: unknown): z.infer<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalid(z.prettifyError(parsed.error));
}

/** A request that this version does not understand: a defect of the caller, not of the host. */
class BadRequest extends Error {}

function invalid(why: string): BadRequest {
  return new BadRequest(`the simulated host did not understand the request: ${why}`);
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MAX_BODY_BYTES) throw invalid("the body is too long");
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString("utf8"));
  } catch {
    throw invalid("the body is no JSON");
  }
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? "") : "";
}
