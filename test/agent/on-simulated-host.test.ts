import { mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { repositoryAccess } from "../../lib/agent/repository-access.ts";
import { staticDiskFiles } from "../../lib/agent/static-disk.ts";
import type { OperationInput, OperationResult, PreflightFinding, VmId } from "../../lib/contracts/index.ts";
import {
  createRepository,
  directoryStore,
  exportWriterKey,
  type Repository,
} from "../../lib/repository/index.ts";
import {
  checkWriterDisks,
  connectSimulatedHost,
  createEstate,
  setFaults,
  startSimulatedHost,
  type Fault,
  type SimulatedHost,
} from "../../lib/simulated-host/index.ts";
import { byteFileOf, openVhdx } from "../../lib/vhdx/index.ts";
import { CLUSTER, newRunId, operate, startProcess, temporaryFolder, type AgentProcess } from "./bench.ts";

/*
 * The agent over a host that holds real disks under load: what it backs up must restore to one instant of all members, and after
 * every fault nothing is left and the next backup works.
 */

type Disk = OperationResult<"consistency-point">["disks"][number] &
  OperationResult<"ship">["disks"][number] &
  OperationResult<"update-references">["disks"][number] & {
    readonly changeSource: OperationResult<"change-ranges">["disks"][number]["source"];
  };
interface Point {
  readonly manifest: string;
  readonly consistency: "application" | "crash";
  readonly disks: readonly Disk[];
}

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let host: SimulatedHost;
let agent: AgentProcess;
let repository: Repository;
let members: VmId[];
let store: string;
let last: Point | undefined;

beforeAll(async () => {
  folder = await temporaryFolder();
  const estate = join(folder.path, "estate");
  const created = await createEstate({
    ...{
      folder: estate,
      sharedDisk: { kind: "files", megabytes: 8 },
      writerMegabytes: 4,
      privateMegabytes: 2,
      seed: 7,
    },
  });
  members = created.members.map(({ vmId }) => vmId);
  host = await startSimulatedHost({ folder: estate });
  store = join(folder.path, "store");
  await mkdir(store);
  await mkdir(join(folder.path, "restored"));
  repository = await createRepository(directoryStore(store), { passphrase: "a passphrase" });
  await writeFile(join(folder.path, "writer.key"), exportWriterKey(repository));
  await writeFile(join(folder.path, "passphrase"), "a passphrase");
  agent = startProcess({
    ...{ folder: folder.path, host: connectSimulatedHost({ url: host.url }), staticDisks: staticDiskFiles },
    restoreRoots: [join(folder.path, "restored")],
    repository: repositoryAccess({
      openStore: () => directoryStore(store),
      writerKeyFile: join(folder.path, "writer.key"),
      passphraseFile: join(folder.path, "passphrase"),
    }),
  });
});

afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await host.close();
  await folder[Symbol.asyncDispose]();
});

/** What the control plane does, with the same inputs; undoes when a step fails. */
async function backUp(policy: "application" | "application-or-crash" = "application"): Promise<Point> {
  const { engine } = agent;
  const runId = newRunId();
  const known = last?.disks ?? [];
  try {
    const input: OperationInput<"consistency-point"> = {
      ...{ members, consistency: policy, includePrivateDisks: true, frozenDeadlineMs: 2_000 },
    };
    const point = await operate(engine, runId, "consistency-point", input);
    const references = await operate(engine, runId, "update-references", {});
    const previous = known.map(({ diskId, virtualSizeBytes, referencePoint }) => ({
      diskId,
      virtualSizeBytes,
      referencePoint,
    }));
    const changes = await operate(engine, runId, "change-ranges", { requested: "incremental", previous });
    const base = known.map(({ diskId, mapRoot, virtualSizeBytes }) => ({
      diskId,
      mapRoot,
      virtualSizeBytes,
    }));
    const shipped = await operate(engine, runId, "ship", { repository: { url: `directory:${store}` }, base });
    const disks = point.disks.map((disk, index) => ({
      ...{ ...disk, ...shipped.disks[index]!, ...references.disks[index]! },
      changeSource: changes.disks[index]!.source,
    }));
    const manifest = await repository.commitManifest({
      ...{
        clusterId: CLUSTER,
        runId,
        createdAt: new Date().toISOString(),
        predecessor: last?.manifest ?? null,
      },
      ...{ consistency: point.consistency, members: point.members, storageSnapshots: point.storageSnapshots },
      ...{ disks, writtenBy: "test" },
    });
    last = { manifest, consistency: point.consistency, disks };
    const keep = disks.map(({ referencePoint }) => referencePoint);
    expect(await operate(engine, runId, "clean-up", { keep })).toEqual({ leftovers: [] });
    return last;
  } catch (error) {
    expect(await operate(engine, runId, "undo", {})).toMatchObject({ leftovers: [] });
    throw error;
  }
}

const sourcesOf = ({ disks }: Point) => [...new Set(disks.map(({ changeSource }) => changeSource.kind))];

async function restoreAndCheck(point: Point, name: string): Promise<void> {
  const targetDirectory = join(folder.path, "restored", name);
  const { disks } = await operate(agent.engine, newRunId(), "restore", {
    ...{ repository: { url: `directory:${store}` }, manifest: point.manifest, targetDirectory },
  });
  expect(disks.every(({ identical }) => identical)).toBe(true);
  await using files = new AsyncDisposableStack();
  const images = [];
  for (const { path } of disks)
    images.push(await openVhdx(await byteFileOf(files.use(await open(path, "r")))));
  const check = await checkWriterDisks(images, { consistency: point.consistency });
  expect(check).toMatchObject({ consistent: true, violations: [] });
  expect(check.lastTransaction).toBeGreaterThan(0);
}

async function withFaults<T>(faults: readonly Fault[], act: () => Promise<T>): Promise<T> {
  await setFaults({ url: host.url }, faults);
  try {
    return await act();
  } finally {
    await setFaults({ url: host.url }, []);
  }
}

test("full and incremental points of members under load restore to one instant of all of them", async () => {
  const full = await backUp();
  expect(sourcesOf(full)).toEqual(["full"]);
  const incremental = await backUp();
  expect(sourcesOf(incremental)).toEqual(["rct"]);
  for (const { sizes } of incremental.disks)
    expect(sizes.readBytes).toBeLessThanOrEqual(sizes.changedChunkBytes);
  await restoreAndCheck(full, "full");
  await restoreAndCheck(incremental, "incremental");
});

describe("after a fault the run is undone with nothing left, and the next one is incremental:", () => {
  test.each<[string, () => Fault, string]>([
    ["a member's VSS writers fail", () => ({ kind: "vss-failed", vmId: members[1]! }), "QUIESCE_FAILED"],
    ["a freeze hangs", () => ({ kind: "freeze-hangs", vmId: members[2]! }), "QUIESCE_TIMED_OUT"],
    ["the storage snapshot fails", () => ({ kind: "storage-snapshot-fails" }), "STORAGE_SNAPSHOT_FAILED"],
    ["the conversion fails", () => ({ kind: "convert-fails" }), "HYPERV_CALL_FAILED"],
  ])("%s", async (_name, fault, code) => {
    await withFaults([fault()], () => expect(backUp()).rejects.toMatchObject({ code }));
    expect(sourcesOf(await backUp())).toEqual(["rct"]);
  });
});

test("where the policy allows it, members that cannot be quiesced give a crash-consistent point that restores", async () => {
  const point = await withFaults([{ kind: "vss-failed", vmId: members[0]! }], () =>
    backUp("application-or-crash"),
  );
  expect(point.consistency).toBe("crash");
  await restoreAndCheck(point, "crash");
});

test.each(["tracking-lost", "tracking-disabled"] as const)(
  "%s: the disks are compared until the host tracks again",
  async (kind) => {
    const point = await withFaults([{ kind }], backUp);
    expect(sourcesOf(point)).toContain("compare");
    await restoreAndCheck(point, kind);
    // The host may have lost the new reference point with the old one: then it takes one more run.
    await backUp();
    expect(sourcesOf(await backUp())).toEqual(["rct"]);
  },
);

describe("the preflight finds", () => {
  const first = () => ({ vmId: members[0]! });
  test.each<[string, () => Fault]>([
    ["MEMBER_NOT_RUNNING", () => ({ kind: "member-off", ...first() })],
    ["MEMBER_MISSING", () => ({ kind: "member-missing", ...first() })],
    ["CONFIGURATION_VERSION", () => ({ kind: "configuration-version", ...first(), version: "5.0" })],
    ["VSS_STATUS", () => ({ kind: "vss-status", ...first(), status: "no-contact" })],
    ["USER_CHECKPOINT", () => ({ kind: "user-checkpoint", ...first(), name: "before the update" })],
    ["RECOVERY_CHECKPOINT_LEFT", () => ({ kind: "foreign-recovery-checkpoint", ...first() })],
    ["NO_GUEST_CLUSTER", () => ({ kind: "no-guest-cluster", ...first() })],
    ["GUEST_CLUSTER_MISMATCH", () => ({ kind: "other-guest-cluster", ...first() })],
    ["GUEST_CLUSTER_SIZE", () => ({ kind: "guest-cluster-size", size: 5 })],
    ["SHARED_DISK_NOT_CLUSTERED", () => ({ kind: "shared-disk", state: "not-clustered" })],
    ["SHARED_DISK_OFFLINE", () => ({ kind: "shared-disk", state: "offline" })],
    ["SHARED_DISK_OWNER", () => ({ kind: "shared-disk", state: "not-owned" })],
    ["SHARED_DISK_OWNER", () => ({ kind: "shared-disk", state: "two-owners" })],
    ["SHARED_DISK_ACTIVE_ACTIVE", () => ({ kind: "shared-disk", state: "active-active" })],
    ["CONFIG_STORE_UNSET", () => ({ kind: "config-store-unset" })],
    ["FOLDER_RIGHTS", () => ({ kind: "folder-rights-missing", ...first() })],
    ["FREE_SPACE", () => ({ kind: "free-space", freeBytes: 0 })],
    ["HOST_QUESTION_FAILED", () => ({ kind: "call-fails", method: "getReadiness" })],
  ])("%s", async (code, fault) => {
    const ask = () => operate(agent.engine, newRunId(), "preflight", { members, consistency: "application" });
    const { findings } = await withFaults([fault()], ask);
    const refusals = findings.filter(({ severity }: PreflightFinding) => severity === "refuse");
    expect(refusals.map((finding) => finding.code)).toContain(`PREFLIGHT_${code}`);
    expect((await ask()).findings.filter(({ severity }) => severity === "refuse")).toEqual([]);
  });
});
