import { request } from "node:http";
import type * as z from "zod";
import type { HyperVHost } from "../../agent/hyperv-host.ts";
import { ErrorDocumentSchema } from "../../contracts/index.ts";
import { BackupError, fromErrorDocument } from "../../errors/index.ts";
import type { Fault } from "../faults.ts";
import { METHODS, type Method } from "./protocol.ts";

/**
 * The port over a simulated host in another process. A call lasts as long as the host needs: it has no time limit of its own.
 *
 * @param options.url as `gcb simulated-host run` prints it
 * @returns a host whose methods reject with SIMULATED_HOST_UNREACHABLE when the process is gone, else as the port says
 */
export function connectSimulatedHost(options: { readonly url: string }): HyperVHost {
  const call = async <M extends Method>(
    method: M,
    ...args: unknown[]
  ): Promise<z.infer<(typeof METHODS)[M]["result"]>> => {
    const answer = await post(new URL(`/v1/${method}`, options.url), args);
    return METHODS[method].result.parse(answer) as z.infer<(typeof METHODS)[M]["result"]>;
  };
  return {
    describe: () => call("describe"),
    getVirtualMachines: (vmIds) => call("getVirtualMachines", vmIds),
    getGuestClusterInformation: (vmIds) => call("getGuestClusterInformation", vmIds),
    getReadiness: (vmIds) => call("getReadiness", vmIds),
    ensureCollection: (name, vmIds) => call("ensureCollection", name, vmIds),
    createRecoveryCheckpoint: (wanted) => call("createRecoveryCheckpoint", wanted),
    findRecoveryCheckpoints: (vmIds) => call("findRecoveryCheckpoints", vmIds),
    destroyRecoveryCheckpoint: (id) => call("destroyRecoveryCheckpoint", id),
    createStorageSnapshot: (wanted) => call("createStorageSnapshot", wanted),
    findStorageSnapshots: () => call("findStorageSnapshots"),
    releaseStorageSnapshot: (id) => call("releaseStorageSnapshot", id),
    convertToReferencePoint: (id) => call("convertToReferencePoint", id),
    findReferencePoints: (vmIds) => call("findReferencePoints", vmIds),
    destroyReferencePoint: (id) => call("destroyReferencePoint", id),
    getVhdSetInformation: (path) => call("getVhdSetInformation", path),
    getDiskChanges: (wanted) => call("getDiskChanges", wanted),
    findLeftovers: (vmIds) => call("findLeftovers", vmIds),
  };
}

/** Replaces the faults that are switched on at a simulated host. */
export async function setFaults(options: { readonly url: string }, faults: readonly Fault[]): Promise<void> {
  await post(new URL("/faults", options.url), { faults });
}

function post(url: URL, body: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body);
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const sent = request(url, { method: "POST", headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", (error) => reject(unreachable(url, error)));
      response.on("end", () => {
        try {
          const answer: unknown = JSON.parse(Buffer.concat(parts).toString("utf8"));
          if (response.statusCode === 200) resolve(answer);
          else reject(fromErrorDocument(ErrorDocumentSchema.parse(answer)));
        } catch (error) {
          reject(unreachable(url, error));
        }
      });
    });
    sent.on("error", (error) => reject(unreachable(url, error)));
    sent.end(text);
  });
}

function unreachable(url: URL, cause: unknown): BackupError {
  return new BackupError(
    "SIMULATED_HOST_UNREACHABLE",
    `the simulated host at ${url.origin} gave no answer; start it with gcb simulated-host run`,
    { retry: "later", facts: { url: url.origin }, cause },
  );
}
