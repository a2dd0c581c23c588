import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PowerShellSettings } from "../../lib/agent/powershell/index.ts";
import { openDocumentedHost, type DocumentedHost } from "./documented-host.ts";
import { CANNOT_FAKE, type Rule } from "./fake-shell.ts";
import { readScripts, type ParsedScript } from "./script-rules/parse.ts";

/*
 * TypeScript sends what the scripts read, no more and no less: strict mode turns a missing field into an error on the host,
 * and a field that no script reads would be a setting without effect.
 */

const scripts = readScripts().filter(({ name }) => name.endsWith(".ps1"));
const done: readonly Rule[] = [{ value: {} }];

/** Scripts whose answers the documented host does not need. */
const MORE: Readonly<Record<string, readonly Rule[]>> = {
  "New-VirtualMachineCheckpoint": [{ do: "error", error: { code: "HV_JOB_FAILED", message: "no" } }],
  "Set-VhdSetSnapshot": done,
  "Remove-VhdSetSnapshot": done,
  "Test-DiskPlacement": [{ value: { fits: true, freeBytes: 1, supportsSharing: true } }],
  "ConvertTo-VhdSet": [{ value: { path: "C:\\r\\a.vhds" } }],
  "Import-PlannedVirtualMachine": [
    {
      value: {
        vmId: "11111111-1111-4111-8111-111111111111",
        name: "a",
        disks: { instanceId: "x", hostResource: "y" },
      },
    },
  ],
  "Set-PlannedDisk": done,
  "Test-PlannedVirtualMachine": done,
  "Complete-PlannedVirtualMachine": done,
  "Remove-PlannedVirtualMachine": done,
  "Copy-CheckpointConfiguration": [{ value: { files: [{ name: "a.vmcx", bytes: 1 }] } }],
  "New-SoftwareStorageSnapshot": [{ do: "error", error: { code: "HV_CALL_FAILED", message: "no" } }],
};

async function callEverything({ host, members, sharedPath }: DocumentedHost): Promise<void> {
  const [first] = members;
  const vmId = first!;
  const ignore = (): undefined => undefined;
  await host.describe();
  await host.getVirtualMachines(members);
  await host.getGuestClusterInformation(members);
  await host.getReadiness(members);
  const collectionId = await host.ensureCollection("c", members);
  const request = { tag: "t", consistency: "application", deadlineMs: 5_000 } as const;
  await host
    .createRecoveryCheckpoint({ ...request, collectionId: await host.ensureCollection("c", [vmId]) })
    .catch(ignore);
  const made = await host.createRecoveryCheckpoint({ ...request, collectionId });
  await host.createRecoveryCheckpoint({ ...request, collectionId, tag: "crashes" }).catch(ignore);
  const snapshot = await host.createStorageSnapshot({ tag: "t", paths: [sharedPath] });
  await host.releaseStorageSnapshot(snapshot.storageSnapshotId);
  await host.destroyRecoveryCheckpoint("gone");
  const reference = await host.convertToReferencePoint(made.snapshotCollectionId);
  await host.findReferencePoints(members);
  await host.getVhdSetInformation(sharedPath);
  const since = { id: "a", rctId: "b" };
  const range = { offsetBytes: 0, lengthBytes: 1 };
  await host.getDiskChanges({ path: sharedPath, since, until: since, range }).catch(ignore);
  await host.destroyReferencePoint(reference.referencePointCollectionId);
  await host.findLeftovers(members);
  await host.findMountedImages(members);
  await host.setVhdSetEntry({ path: sharedPath, snapshotId: "s", snapshotPath: "p", rctId: "r" });
  await host.removeVhdSetEntry({ path: sharedPath, snapshotId: "s", keepReference: true });
  const { restore } = host;
  await restore.checkPlacement({ directory: "C:\\r", neededBytes: 1, shared: true });
  await restore.convertToVhdSet("C:\\r\\a.vhdx");
  await restore.importPlanned({
    configurationPath: "C:\\r\\a.vmcx",
    snapshotDirectory: "C:\\r",
    newId: true,
  });
  await restore.setPlannedDisks(vmId, [{ instanceId: "i", path: "C:\\r\\a.vhds" }]);
  await restore.validatePlanned(vmId);
  await restore.realizePlanned(vmId);
  await restore.removePlanned(vmId);
  await restore.copyCheckpointConfiguration({ vmId, checkpointId: "c", targetDirectory: "C:\\r" });
}

/** `$Request.name` and `$Request.settings.name` of a script. */
function reads(script: ParsedScript, prefix: string): Set<string> {
  const found = script.text.matchAll(new RegExp(String.raw`\$Request\.${prefix}(\w+)`, "g"));
  return new Set([...found].map(([, name]) => name ?? "").filter((name) => name !== "settings"));
}

describe.skipIf(CANNOT_FAKE)("inputs of the scripts", () => {
  const sent = new Map<string, Set<string>>();

  beforeAll(async () => {
    const crash: Rule = { input: { tag: "crashes" }, do: "crash" };
    await using it = await openDocumentedHost({ ...MORE, "New-CollectionCheckpoint": [crash] });
    await callEverything(it);
    await using wmi = await openDocumentedHost(MORE, { storageSnapshot: "win32-shadow-copy" });
    await wmi.host.createStorageSnapshot({ tag: "t", paths: [wmi.sharedPath] }).catch(() => undefined);
    for (const { script, input } of [...(await it.fake.received()), ...(await wmi.fake.received())]) {
      if (script === undefined) continue;
      sent.set(script, new Set([...(sent.get(script) ?? []), ...Object.keys(input ?? {})]));
    }
  });
  afterAll(() => sent.clear());

  test("every script is called by the port or by the restore", () => {
    expect(scripts.map(({ name }) => name.slice(0, -4)).filter((name) => !sent.has(name))).toEqual([]);
  });

  test.each(scripts.map((script) => [script.name, script] as const))(
    "%s reads what it is sent",
    (name, script) => {
      const got = sent.get(name.slice(0, -4)) ?? new Set<string>();
      expect([...reads(script, "")].filter((field) => !got.has(field))).toEqual([]);
      expect([...got].filter((field) => field !== "settings" && !reads(script, "").has(field))).toEqual([]);
    },
  );

  test("scripts read only settings that exist, and each setting has a reader", () => {
    const known = Object.keys(PowerShellSettings.shape);
    const read = new Set(scripts.flatMap((script) => [...reads(script, String.raw`settings\.`)]));
    expect([...read].filter((name) => !known.includes(name))).toEqual([]);
    const readInTypeScript = [
      "limitIdForSets",
      "storageSnapshot",
      "storageSnapshotProvider",
      "diskshadowAlias",
      "executionPolicy",
      "maximumRanges",
      "mergeTimeoutMs",
      "storageSnapshotTimeoutMs",
      "maximumOutputBytes",
    ];
    expect(known.filter((name) => !read.has(name) && !readInTypeScript.includes(name))).toEqual([]);
  });
});
