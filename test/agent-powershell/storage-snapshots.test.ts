import { describe, expect, test } from "vitest";
import type { LiveShadow, SnapshotRecord } from "../../lib/agent/powershell/answers.ts";
import { recordFileName, toStorageSnapshot } from "../../lib/agent/powershell/storage-snapshots.ts";
import { openDocumentedHost } from "./documented-host.ts";
import { CANNOT_FAKE } from "./fake-shell.ts";

const VOLUME_C = "\\\\?\\Volume{00000000-0000-4000-8000-00000000000c}\\";
const VOLUME_D = "\\\\?\\Volume{00000000-0000-4000-8000-00000000000d}\\";
const ID_C = "5ad00000-0000-4000-8000-00000000000c";
const ID_D = "5ad00000-0000-4000-8000-00000000000d";

const shadow = (id: string, volumeName: string, exposedName: string): LiveShadow => ({
  id,
  setId: "5ad00000-0000-4000-8000-0000000000ff",
  deviceObject: `\\\\?\\GLOBALROOT\\Device\\${id}`,
  volumeName,
  exposedName,
  persistent: true,
});

const record: SnapshotRecord = {
  tag: "run",
  method: "diskshadow",
  startedAtMs: 1,
  before: [],
  volumes: [
    { directory: "C:\\ClusterStorage\\Volume1\\", deviceId: VOLUME_C, mountPoint: "C:\\m\\1" },
    { directory: "D:\\", deviceId: VOLUME_D, mountPoint: "C:\\m\\2" },
  ],
  shadowIds: [],
  output: `{${ID_C}} %GCB1%\n{${ID_D}} %GCB2%\n`,
};

describe("what a record and the live shadow copies say together", () => {
  test("each volume is read where its own shadow copy is exposed, in whatever order Windows lists them", () => {
    const live = [shadow(ID_D, VOLUME_D, "C:\\m\\2\\"), shadow(ID_C, VOLUME_C, "C:\\m\\1\\")];
    expect(toStorageSnapshot(record, live)?.volumes).toEqual([
      { directory: "C:\\ClusterStorage\\Volume1\\", exposedAs: "C:\\m\\1\\" },
      { directory: "D:\\", exposedAs: "C:\\m\\2\\" },
    ]);
  });

  test("without aliases volumes are told apart by their names", () => {
    const output = `{${ID_C}} %VSS_SHADOW_1%\n{${ID_D}} %VSS_SHADOW_2%\n`;
    const live = [shadow(ID_D, VOLUME_D.toUpperCase(), "x"), shadow(ID_C, VOLUME_C, "x")];
    expect(toStorageSnapshot({ ...record, output }, live)?.volumes.map(({ exposedAs }) => exposedAs)).toEqual(
      ["C:\\m\\1\\", "C:\\m\\2\\"],
    );
  });

  test("a shadow copy that was not exposed has no place to read from", () => {
    const live = [shadow(ID_C, VOLUME_C, ""), shadow(ID_D, VOLUME_D, "x")];
    expect(toStorageSnapshot(record, live)?.volumes[0]?.exposedAs).toBe("");
  });

  test("a record whose shadow copies are gone is no storage snapshot, and others' shadow copies are none of ours", () => {
    const foreign = shadow("5ad00000-0000-4000-8000-0000000000ee", VOLUME_C, "");
    expect(toStorageSnapshot(record, [foreign])).toBeUndefined();
  });

  test("Win32_ShadowCopy is read through its device", () => {
    const wmi: SnapshotRecord = {
      ...record,
      method: "win32-shadow-copy",
      volumes: record.volumes.slice(0, 1),
      shadowIds: [ID_C],
      output: "",
    };
    expect(toStorageSnapshot(wmi, [shadow(ID_C, VOLUME_C, "")])?.volumes).toEqual([
      { directory: "C:\\ClusterStorage\\Volume1\\", exposedAs: `\\\\?\\GLOBALROOT\\Device\\${ID_C}\\` },
    ]);
  });
});

test("files of a tag have the name that the scripts give them, and never a long one", () => {
  expect(recordFileName("run/1")).toBe("72756e2f31");
  expect(recordFileName("x".repeat(49))).toMatch(/^[0-9a-f]{64}$/);
});

describe.skipIf(CANNOT_FAKE)("leftovers of the host", () => {
  const value = {
    records: { ...record, output: "", before: [ID_D] },
    live: [shadow(ID_C, VOLUME_C, ""), shadow(ID_D, VOLUME_D, "")],
  };

  test("a shadow copy that nobody claims is reported for a person to judge, never removed", async () => {
    await using it = await openDocumentedHost({ "Get-StorageSnapshot": [{ value }] });
    const left = await it.host.findLeftovers(it.members);
    expect(left.map(({ kind, id }) => ({ kind, id }))).toEqual([{ kind: "storage-snapshot", id: ID_C }]);
    expect(await it.host.findStorageSnapshots()).toEqual([]);
    await it.host.releaseStorageSnapshot("run");
    const removals = (await it.fake.received()).filter(({ script }) => script === "Remove-StorageSnapshot");
    expect(removals.map(({ input }) => input?.["shadowIds"])).toEqual([[]]);
  });

  test("orphan files and jobs that hold a member are named with what to do", async () => {
    const [vmId] = MEMBERS;
    const found = {
      orphanFiles: { path: "C:\\v\\a_0.avhdx", bytes: 4_096 },
      runningJobs: [{ jobId: "j", jobType: 198, vmId }],
      mountedImages: [{ path: "C:\\v\\a.vhdx" }],
    };
    await using it = await openDocumentedHost({ "Get-Leftover": [{ value: found }] });
    const left = await it.host.findLeftovers(it.members);
    expect(left.map(({ kind, id, subject }) => [kind, id, subject])).toEqual([
      ["orphan-avhdx", "C:\\v\\a_0.avhdx", "4096 bytes"],
      ["frozen-member", "j", vmId],
    ]);
    for (const { remedy } of left) expect(remedy.length).toBeGreaterThan(20);
    expect(await it.host.findMountedImages(it.members)).toEqual(["C:\\v\\a.vhdx"]);
  });
});

const MEMBERS = ["11111111-1111-4111-8111-111111111111"] as const;
