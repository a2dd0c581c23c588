import { describe, expect, test } from "vitest";
import { collectionIdOf } from "../../lib/agent/powershell/host.ts";
import { Guid } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";
import { openDocumentedHost, type DocumentedHost } from "./documented-host.ts";
import { CANNOT_FAKE } from "./fake-shell.ts";

async function failureOf(promise: Promise<unknown>): Promise<BackupError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof BackupError)) throw new Error(`expected a BackupError, got ${String(error)}`);
  return error;
}

async function create(it: DocumentedHost, tag: string, deadlineMs = 60_000) {
  const collectionId = await it.host.ensureCollection("c", it.members);
  return it.host.createRecoveryCheckpoint({ collectionId, tag, consistency: "application", deadlineMs });
}

async function scriptsOf(it: DocumentedHost): Promise<string[]> {
  return (await it.fake.received()).flatMap(({ script }) => (script === undefined ? [] : [script]));
}

describe.skipIf(CANNOT_FAKE)("the PowerShell host", () => {
  test("a refused checkpoint names Microsoft's cause and what to do", async () => {
    await using it = await openDocumentedHost();
    const error = await failureOf(create(it, "refused"));
    expect(error.code).toBe("QUIESCE_FAILED");
    expect(error.message).toContain("exactly one node of the guest cluster");
    expect(error.facts).toMatchObject({ jobErrorCode: 32775, hostCode: "HV_JOB_FAILED" });
  });

  test("a freeze that the host ended at its deadline is QUIESCE_TIMED_OUT", async () => {
    await using it = await openDocumentedHost();
    expect((await failureOf(create(it, "slow"))).code).toBe("QUIESCE_TIMED_OUT");
  });

  test.each([
    ["crash", "QUIESCE_FAILED"],
    ["garbage", "QUIESCE_FAILED"],
    ["hang", "QUIESCE_TIMED_OUT"],
  ] as const)(
    "a checkpoint script that ends in %s is undone: what it made is found by its tag and removed",
    async (kind, code) => {
      await using it = await openDocumentedHost(
        {
          "New-CollectionCheckpoint": [
            {
              input: { tag: "dies" },
              do: kind,
              then: { checkpoint: 1, tag: "$input.tag", consistency: "application" },
            },
          ],
        },
        { settleMs: 0, callTimeoutMs: 1_500 },
      );
      expect((await failureOf(create(it, "dies", 1))).code).toBe(code);
      expect(await it.host.findRecoveryCheckpoints(it.members)).toEqual([]);
      expect((await scriptsOf(it)).filter((name) => name.startsWith("New-Collection"))).toHaveLength(1);
    },
  );

  test("a checkpoint of another run is not touched by the undo", async () => {
    await using it = await openDocumentedHost({
      "New-CollectionCheckpoint": [
        {
          input: { tag: "dies" },
          do: "crash",
          then: { checkpoint: 1, tag: "somebody-else", consistency: "crash" },
        },
      ],
    });
    expect((await failureOf(create(it, "dies"))).code).toBe("QUIESCE_FAILED");
    expect(await scriptsOf(it)).not.toContain("Remove-RecoveryCheckpoint");
  });

  test("a single VM never becomes a collection", async () => {
    await using it = await openDocumentedHost();
    const [vmId] = it.members;
    expect(await it.host.ensureCollection("c", [vmId!])).toBe(`vm/${vmId!}`);
    expect(await scriptsOf(it)).toEqual([]);
  });

  test.each([
    ["0xC03A0029", "REFERENCE_POINT_LOST"],
    ["0xC03A0030", "REFERENCE_POINT_LOST"],
    ["0xC03A002A", "TRACKING_DISABLED"],
  ])("a change query that fails with %s is %s", async (text, code) => {
    const error = { code: "HV_CALL_FAILED", message: "no", jobErrorText: `failed (${text})` };
    await using it = await openDocumentedHost({ "Get-DiskChange": [{ do: "error", error }] });
    const since = { id: "a", rctId: "b" };
    const range = { offsetBytes: 0, lengthBytes: 4_096 };
    const asked = it.host.getDiskChanges({ path: it.sharedPath, since, until: since, range });
    expect((await failureOf(asked)).code).toBe(code);
  });

  test("a set is asked by its entries, a private disk by its tracking id and without a target", async () => {
    await using it = await openDocumentedHost({
      "Get-DiskChange": [{ value: { processedBytes: 4_096, offsets: "", lengths: "" } }],
    });
    const since = { id: "entry-1", rctId: "rct-1" };
    const until = { id: "entry-2", rctId: "rct-2" };
    const range = { offsetBytes: 0, lengthBytes: 4_096 };
    await it.host.getDiskChanges({ path: it.sharedPath, since, until, range });
    await it.host.getDiskChanges({ path: "C:\\vm\\os.vhdx", since, until, range });
    const asked = (await it.fake.received())
      .filter(({ script }) => script === "Get-DiskChange")
      .map(({ input }) => input);
    expect(asked).toMatchObject([
      { limitId: "entry-1", targetSnapshotId: "entry-2" },
      { limitId: "rct-1", targetSnapshotId: "" },
    ]);
  });

  test("a storage snapshot that cannot be exposed is removed again", async () => {
    const error = {
      code: "HV_DISKSHADOW_FAILED",
      message: "diskshadow ended with exit code 3",
      remedy: "Read its output.",
    };
    await using it = await openDocumentedHost({ "Publish-StorageSnapshot": [{ do: "error", error }] });
    const failed = await failureOf(it.host.createStorageSnapshot({ tag: "t", paths: [it.sharedPath] }));
    expect(failed.code).toBe("STORAGE_SNAPSHOT_FAILED");
    expect(await it.host.findStorageSnapshots()).toEqual([]);
  });

  test("a storage snapshot with the same tag is found, not taken twice", async () => {
    await using it = await openDocumentedHost();
    const request = { tag: "t", paths: [it.sharedPath] };
    expect(await it.host.createStorageSnapshot(request)).toEqual(
      await it.host.createStorageSnapshot(request),
    );
    expect((await scriptsOf(it)).filter((name) => name === "New-StorageSnapshot")).toHaveLength(1);
  });

  test("a path on no local volume is refused before anything is taken", async () => {
    await using it = await openDocumentedHost({
      "Get-StorageVolume": [
        {
          value: {
            volumes: [{ path: "\\\\nas\\share\\a.vhds", directory: "", deviceId: "", fileSystem: "" }],
          },
        },
      ],
    });
    const failed = await failureOf(
      it.host.createStorageSnapshot({ tag: "t", paths: ["\\\\nas\\share\\a.vhds"] }),
    );
    expect(failed).toMatchObject({ code: "STORAGE_SNAPSHOT_FAILED", retry: "after-operator" });
    expect(await scriptsOf(it)).not.toContain("New-StorageSnapshot");
  });

  test("Win32_ShadowCopy is refused for disks on several volumes: they would have no common point", async () => {
    const volumes = ["D", "E"].map((letter) => ({
      path: `${letter}:\\a.vhdx`,
      directory: `${letter}:\\`,
      deviceId: `\\\\?\\Volume{00000000-0000-4000-8000-00000000000${letter}}\\`,
      fileSystem: "NTFS",
    }));
    await using it = await openDocumentedHost(
      { "Get-StorageVolume": [{ value: { volumes } }] },
      { storageSnapshot: "win32-shadow-copy" },
    );
    const failed = await failureOf(
      it.host.createStorageSnapshot({ tag: "t", paths: volumes.map(({ path }) => path) }),
    );
    expect(failed.message).toContain("2 volumes");
    expect(await scriptsOf(it)).not.toContain("New-SoftwareStorageSnapshot");
  });

  test("an answer of an unknown form is refused, whatever it is", async () => {
    for (const value of [
      null,
      1,
      "x",
      [],
      {},
      { virtualMachines: [{ vmId: "not a guid" }] },
      { virtualMachines: "x" },
    ]) {
      await using it = await openDocumentedHost({ "Get-VirtualMachine": [{ value }] });
      const outcome = await it.host.getVirtualMachines(it.members).catch((error: unknown) => error);
      // A missing list is an empty list (5.1 writes null for none); everything else that does not fit is an error.
      if (Array.isArray(outcome)) expect(outcome).toEqual([]);
      else expect(outcome).toMatchObject({ code: "HYPERV_ANSWER_INVALID" });
    }
  });
});

test("a collection's id is a GUID made from its name alone", () => {
  expect(collectionIdOf("sql")).toBe(collectionIdOf("sql"));
  expect(collectionIdOf("sql")).not.toBe(collectionIdOf("sql2"));
  expect(Guid.parse(collectionIdOf("sql"))).toBe(collectionIdOf("sql"));
});
