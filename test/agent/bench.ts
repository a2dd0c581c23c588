import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  DiskId,
  GuestClusterId,
  operationIdOf,
  RunId,
  VmId,
  type OperationInput,
  type OperationKind,
  type OperationResult,
  type OperationState,
} from "../../lib/contracts/index.ts";
import { BackupError, fromErrorDocument } from "../../lib/errors/index.ts";
import { OperationEngine } from "../../lib/agent/engine.ts";
import type { HyperVHost } from "../../lib/agent/index.ts";
import { Journal } from "../../lib/agent/journal/journal.ts";
import { operationHandlers } from "../../lib/agent/operations/index.ts";
import type { BackupTarget, RepositoryPort, ShipRequest } from "../../lib/agent/repository-port.ts";
import type { StaticDiskPort } from "../../lib/agent/static-disk.ts";
import type { VirtualDisk } from "../../lib/vhdx/index.ts";
import { newHostState, type FakeDisk, type HostState } from "./fake-host.ts";

export const CLUSTER = GuestClusterId.parse("sql-fci");
export const MEMBERS = [1, 2, 3].map((n) => VmId.parse(`00000000-0000-4000-8000-00000000000${String(n)}`));
export const SHARED = DiskId.parse("aaaaaaaa-0000-4000-8000-000000000001");
export const PRIVATE = DiskId.parse("aaaaaaaa-0000-4000-8000-000000000002");
const MIB = 1024 * 1024;

export const DISKS: readonly FakeDisk[] = [
  {
    ...{ diskId: SHARED, path: "/vm/data.vhds", staticPath: "/vm/data_1.avhdx", shared: true },
    ...{ attachedTo: MEMBERS, sizeBytes: 64 * MIB },
  },
  {
    ...{ diskId: PRIVATE, path: "/vm/node-1/os.vhdx", staticPath: "/vm/node-1/os.vhdx", shared: false },
    ...{ attachedTo: MEMBERS.slice(0, 1), sizeBytes: 32 * MIB },
  },
];

let runs = 0;
export function newRunId(): RunId {
  return RunId.parse(`20261123t031500z-${(++runs).toString(16).padStart(8, "0")}`);
}

export const URL_WITH_SECRET = "https://account.blob.core.windows.net/backups?sp=rcl&sig=s3cr3t%2Bsignature";

export function newState(): HostState {
  return newHostState(MEMBERS, DISKS);
}

/** Disks without files: the handlers only pass them on. */
export const fakeStaticDisks: StaticDiskPort = {
  open(staticPath) {
    const found = DISKS.find((disk) => disk.staticPath === staticPath)!;
    const disk: VirtualDisk = {
      ...{
        sizeBytes: found.sizeBytes,
        logicalSectorBytes: 512,
        physicalSectorBytes: 4096,
        blockBytes: 32 * MIB,
      },
      ...{ diskId: found.diskId, kind: "dynamic" },
      read: () => Promise.resolve(),
      async *allocatedRanges() {
        yield await Promise.resolve({ offsetBytes: 0, lengthBytes: MIB });
      },
    };
    return Promise.resolve({ disk, [Symbol.asyncDispose]: () => Promise.resolve() });
  },
};

export const ROOT_OF = (diskId: string) => diskId.replaceAll("-", "").repeat(2);

/** Remembers what was shipped; gives each disk a root made of its id. */
export function fakeRepository(): RepositoryPort & { readonly shipped: ShipRequest[] } {
  const shipped: ShipRequest[] = [];
  const target: BackupTarget = {
    backUpDisk(request) {
      shipped.push(request);
      request.onProgress({ doneBytes: 1, totalBytes: 2 });
      const zero = { allocatedBytes: 0, changedBytes: 0, changedChunkBytes: 0, readBytes: 0 };
      const sizes = { ...zero, newChunkBytes: 0, uploadedBytes: 0 };
      return Promise.resolve({ mapRoot: ROOT_OF(request.disk.diskId), sizes });
    },
  };
  return {
    shipped,
    openForBackup: () => Promise.resolve(target),
    openForRestore: () => Promise.reject(new BackupError("RESTORE_PASSPHRASE_MISSING", "not here")),
  };
}

/** One agent process: its engine over a journal in `folder`. Dropping it without `close` is what a power cut does. */
export interface AgentProcess extends AsyncDisposable {
  readonly engine: OperationEngine;
  readonly journal: Journal;
  readonly logged: string[];
}

export interface ProcessOptions {
  readonly folder: string;
  readonly host: HyperVHost;
  readonly clock?: () => Date;
  readonly repository?: RepositoryPort;
  readonly staticDisks?: StaticDiskPort;
  readonly restoreRoots?: readonly string[];
  readonly runExpiryMs?: number;
}

export function startProcess(options: ProcessOptions): AgentProcess {
  const { folder, host } = options;
  // Handlers that pause move the clock and do not wait.
  let skippedMs = 0;
  const clock = options.clock ?? (() => new Date(Date.now() + skippedMs));
  const journal = Journal.open(join(folder, "journal.sqlite"), clock);
  const logged: string[] = [];
  const engine = new OperationEngine({
    journal,
    handlers: operationHandlers({ restoreRoots: options.restoreRoots ?? [] }),
    ports: {
      ...{ host, clock, staticDisks: options.staticDisks ?? fakeStaticDisks },
      repository: options.repository ?? fakeRepository(),
      pause: async (delayMs, signal) => {
        skippedMs += delayMs;
        await sleep(0, undefined, { signal });
      },
      log: (level, message, facts) => logged.push(JSON.stringify({ level, message, ...facts })),
    },
    limits: { parallelDisks: 2, mergeWaitMs: 0 },
    dataDirectory: folder,
    runExpiryMs: options.runExpiryMs ?? 30 * 60_000,
  });
  return {
    ...{ engine, journal, logged },
    [Symbol.asyncDispose]: async () => {
      await engine.close();
      journal[Symbol.dispose]();
    },
  };
}

export async function temporaryFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "gcb-agent-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Puts the operation and waits for its end; rejects with its error. */
export async function operate<K extends OperationKind>(
  engine: OperationEngine,
  runId: RunId,
  kind: K,
  input: OperationInput<K>,
): Promise<OperationResult<K>> {
  engine.put({ kind, runId, clusterId: CLUSTER, input });
  const state = await ended(engine, operationIdOf(runId, kind));
  if (state.state === "failed") throw fromErrorDocument(state.error);
  return (state as { result: unknown }).result as OperationResult<K>;
}

export async function ended(engine: OperationEngine, id: string): Promise<OperationState> {
  const never = new AbortController().signal;
  for (;;) {
    const state = await engine.wait(id, 5_000, never);
    if (state.state !== "running") return state;
  }
}

export const POINT_INPUT: OperationInput<"consistency-point"> = {
  ...{ members: MEMBERS, consistency: "application", includePrivateDisks: true, frozenDeadlineMs: 60_000 },
};

export interface Previous {
  readonly disks: OperationResult<"update-references">["disks"];
}

/** The steps of a backup as the control plane asks for them, one after the other. */
export function backupSteps(previous: Previous | undefined) {
  const base = (previous?.disks ?? []).map(({ diskId }) => ({
    ...{
      diskId,
      mapRoot: ROOT_OF(diskId),
      virtualSizeBytes: DISKS.find((disk) => disk.diskId === diskId)!.sizeBytes,
    },
  }));
  return [
    { kind: "preflight", input: { members: MEMBERS, consistency: "application" } },
    { kind: "consistency-point", input: POINT_INPUT },
    { kind: "update-references", input: {} },
    {
      kind: "change-ranges",
      input: {
        requested: "incremental",
        previous: (previous?.disks ?? []).map(({ diskId, referencePoint }) => ({
          ...{ diskId, referencePoint },
          virtualSizeBytes: DISKS.find((disk) => disk.diskId === diskId)!.sizeBytes,
        })),
      },
    },
    { kind: "ship", input: { repository: { url: URL_WITH_SECRET }, base } },
  ] as const;
}

/** A whole backup; gives its reference points. */
export async function backUp(
  engine: OperationEngine,
  runId: RunId,
  previous: Previous | undefined,
): Promise<Previous & { readonly leftovers: OperationResult<"clean-up">["leftovers"] }> {
  for (const { kind, input } of backupSteps(previous)) await operate(engine, runId, kind, input as never);
  const { result } = engine.state(operationIdOf(runId, "update-references")) as { result: unknown };
  const { disks } = result as Previous;
  const keep = disks.map(({ referencePoint }) => referencePoint);
  const { leftovers } = await operate(engine, runId, "clean-up", { keep });
  return { disks, leftovers };
}
