import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  parseDiskshadowOutput,
  renderCreateScript,
  renderExposeScript,
  renderRemoveScript,
  type SnapshotVolume,
} from "../../lib/agent/powershell/diskshadow.ts";
import { BackupError } from "../../lib/errors/index.ts";
import documented from "./documented/two-node-cluster.json" with { type: "json" };

const ID = "5ad00000-0000-4000-8000-000000000001";
const DEVICE = "\\\\?\\Volume{77777777-7777-4777-8777-777777777777}\\";
const volume = (directory: string, deviceId = DEVICE): SnapshotVolume => ({
  directory,
  deviceId,
  mountPoint: "",
});
const METADATA = "C:\\ProgramData\\guest-cluster-backup\\run.cab";

describe("the diskshadow script", () => {
  test("several volumes are taken in ONE set, in the order of hyperv.md §2.3", () => {
    const text = renderCreateScript([volume("C:\\ClusterStorage\\Volume1\\"), volume("D:\\")], {
      metadataPath: METADATA,
      provider: "B5946137-7b9f-4925-af80-51abd60b20d5",
      useAlias: true,
    });
    expect(text.split("\r\n")).toEqual([
      "set context persistent nowriters",
      `set metadata ${METADATA}`,
      "set verbose on",
      "begin backup",
      "add volume C:\\ClusterStorage\\Volume1 alias GCB1 provider {b5946137-7b9f-4925-af80-51abd60b20d5}",
      "add volume D: alias GCB2 provider {b5946137-7b9f-4925-af80-51abd60b20d5}",
      "create",
      "end backup",
      "",
    ]);
  });

  test("without a provider the host's order holds, without aliases none is named", () => {
    const text = renderCreateScript([volume("D:\\")], { metadataPath: METADATA, useAlias: false });
    expect(text).toContain("add volume D:\r\n");
  });

  test("a mount point with a blank is named by its volume GUID", () => {
    const text = renderCreateScript([volume("C:\\Cluster Storage\\Volume 1\\")], {
      metadataPath: METADATA,
      useAlias: false,
    });
    expect(text).toContain(`add volume ${DEVICE}\r\n`);
  });

  test("shadow copies are exposed by id and folder, and removed by id, unexposed first where they are exposed", () => {
    expect(renderExposeScript([{ id: ID, mountPoint: "C:\\state\\mounts\\a-1" }])).toBe(
      `expose {${ID}} C:\\state\\mounts\\a-1\r\n`,
    );
    expect(
      renderRemoveScript([
        { id: ID, exposed: true },
        { id: ID.replace("1", "2"), exposed: false },
      ]),
    ).toBe(
      `unexpose {${ID}}\r\ndelete shadows id {${ID}}\r\ndelete shadows id {${ID.replace("1", "2")}}\r\n`,
    );
  });

  test("whatever the names, a script has only lines of the known commands and nothing that could run", () => {
    const allowed =
      /^(?:set (?:context persistent nowriters|metadata [A-Za-z]:\\[\w.\\-]*|verbose on)|begin backup|add volume \S+(?: alias GCB\d+)?|create|end backup)$/;
    const odd = fc.oneof(
      fc.string(),
      fc.constantFrom(
        "D:\\x\r\nexec c:\\evil.cmd",
        'D:\\"',
        "D:\\%PATH%\\",
        "D:\\a b\\",
        "..\\",
        "D:\\a\u2028b\\",
        "D:\\&calc\\",
      ),
    );
    fc.assert(
      fc.property(odd, odd, odd, (directory, deviceId, metadataPath) => {
        let text: string;
        try {
          text = renderCreateScript([volume(directory, deviceId)], { metadataPath, useAlias: true });
        } catch (error) {
          expect(error).toBeInstanceOf(BackupError);
          return;
        }
        for (const line of text.trimEnd().split("\r\n")) expect(line).toMatch(allowed);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("the output of diskshadow", () => {
  const english = documented.rules["New-StorageSnapshot"][0]!.value.output;

  test("gives the set and each shadow copy with its alias", () => {
    expect(parseDiskshadowOutput(english)).toEqual({
      setId: "5ad00000-0000-4000-8000-0000000000ff",
      shadows: [{ id: ID, alias: "GCB1" }],
    });
  });

  test("is read the same in another language: only ids and variables count", () => {
    const german = english
      .replaceAll("Shadow copy ID", "Schattenkopie-ID")
      .replaceAll("Shadow copy set", "Schattenkopiesatz")
      .replaceAll("Original", "Ursprung");
    expect(parseDiskshadowOutput(german)).toEqual(parseDiskshadowOutput(english));
  });

  test("that was cut short gives what it has", () => {
    expect(parseDiskshadowOutput(english.slice(0, english.indexOf("* Shadow copy ID")))).toEqual({
      setId: null,
      shadows: [],
    });
  });

  test("of any other text gives no shadow copy", () => {
    fc.assert(fc.property(fc.string(), (text) => parseDiskshadowOutput(text).shadows.length === 0));
  });
});
