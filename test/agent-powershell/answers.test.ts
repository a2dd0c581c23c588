import fc from "fast-check";
import * as z from "zod";
import { describe, expect, test } from "vitest";
import { listOf, readAnswer } from "../../lib/agent/powershell/answer.ts";
import { Checkpoint, DiskChanges } from "../../lib/agent/powershell/answers.ts";
import {
  parseCimDateTime,
  toChanges,
  toGuestCluster,
  toRecoveryCheckpoint,
} from "../../lib/agent/powershell/convert.ts";
import { toHostError, trackingLoss } from "../../lib/agent/powershell/failures.ts";
import { VmId } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";

const A = VmId.parse("11111111-1111-4111-8111-111111111111");
const ERROR = {
  code: "",
  message: "m",
  subject: "",
  wmiReturnValue: -1,
  jobErrorCode: -1,
  jobErrorText: "",
  remedy: "",
};

describe("the answer line", () => {
  test("of a call is found among anything else, and never taken from another call", () => {
    const text = `noise\r\n{"call":"aa","ok":true,"value":1}\r\n{"call":"bb","ok":true,"value":2}\r\nPS C:\\>`;
    expect(readAnswer(text, "bb")).toEqual({ call: "bb", ok: true, value: 2 });
    expect(readAnswer(text, "cc")).toBe("the script wrote no answer");
  });

  test("50,000 arbitrary outputs give an answer or a reason, never an exception", () => {
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom(
        '{"call":"ab",',
        '"ok":true',
        '"value":',
        "\r\n",
        "}",
        '{"call":"ab","ok":false,"error":{"code":"x"}}',
      ),
      fc.json(),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const answer = readAnswer(pieces.join(""), "ab");
        expect(typeof answer === "string" || typeof answer.ok === "boolean").toBe(true);
      }),
      { numRuns: 50_000 },
    );
  }, 120_000);
});

test.each([
  [null, []],
  [undefined, []],
  [
    [1, 2],
    [1, 2],
  ],
  [7, [7]],
  [{ value: [1], Count: 1 }, [1]],
])("a list that Windows PowerShell writes as %j is %j", (written, list) => {
  expect(listOf(z.number()).parse(written)).toEqual(list);
});

describe("change ranges", () => {
  const asked = { offsetBytes: 1_000, lengthBytes: 1_000 };
  const answer = (processedBytes: number, offsets: string, lengths: string) =>
    toChanges(DiskChanges.parse({ processedBytes, offsets, lengths }), asked, "d.vhdx");

  test("come ascending and merged", () => {
    expect(answer(1_000, "1500,1000,1100", "10,100,50").ranges).toEqual([
      { offsetBytes: 1_000, lengthBytes: 150 },
      { offsetBytes: 1_500, lengthBytes: 10 },
    ]);
  });

  test.each([
    ["no progress", 0, "", ""],
    ["more than asked", 1_001, "", ""],
    ["a range before the question", 1_000, "999", "10"],
    ["a range past what was processed", 500, "1490", "20"],
    ["an empty range", 1_000, "1000", "0"],
    ["fewer lengths than offsets", 1_000, "1000,1100", "10"],
    ["an offset past 2^53", 1_000, "9007199254740993", "10"],
  ])("with %s count as a lost reference, so that everything is read", (_, processed, offsets, lengths) => {
    expect(() => answer(processed, offsets, lengths)).toThrow(
      expect.objectContaining({ code: "REFERENCE_POINT_LOST" }),
    );
  });

  test("cover every byte that the host named, for any sound answer", () => {
    const range = fc.record({ start: fc.nat(900), length: fc.integer({ min: 1, max: 100 }) });
    fc.assert(
      fc.property(fc.array(range), (given) => {
        const offsets = given.map(({ start }) => start + 1_000);
        const result = answer(1_000, offsets.join(","), given.map(({ length }) => length).join(","));
        for (const { start, length } of given) {
          const covering = result.ranges.filter(
            (each) =>
              each.offsetBytes <= start + 1_000 &&
              each.offsetBytes + each.lengthBytes >= start + 1_000 + length,
          );
          expect(covering).toHaveLength(1);
        }
        const ends = result.ranges.map((each) => each.offsetBytes + each.lengthBytes);
        result.ranges
          .slice(1)
          .forEach((each, index) => expect(each.offsetBytes).toBeGreaterThan(ends[index]!));
      }),
    );
  });
});

describe("a checkpoint", () => {
  const raw = Checkpoint.parse({
    snapshotCollectionId: "c",
    tag: "",
    consistency: "",
    startedAtMs: 0,
    endedAtMs: 0,
    members: { vmId: A, checkpointId: "x", createdAtMs: 1_700_000_000_000 },
    disks: null,
  });

  test("without a record promises no more than crash consistency and the longest freeze", () => {
    const [member] = toRecoveryCheckpoint(raw).members;
    expect(member).toMatchObject({ consistency: "crash", frozenMs: 60_000 });
    expect(member?.frozenAt).toEqual(new Date(1_700_000_000_000));
  });

  test("whose call never ended has the longest freeze, not a negative one", () => {
    const [member] = toRecoveryCheckpoint({ ...raw, startedAtMs: 1_700_000_000_000 }).members;
    expect(member?.frozenMs).toBe(60_000);
  });
});

test("a member that says less about its disks than it names is refused, not guessed", () => {
  const flags = { isClustered: [true], isOnline: [true], isOwned: [], isActiveActive: [false] };
  expect(() =>
    toGuestCluster({ vmId: A, clusterId: "c", clusterSize: 2, paths: ["a.vhds"], ...flags }),
  ).toThrow(BackupError);
});

test.each([
  ["20231114221321.500000+060", "2023-11-14T21:13:21.500Z"],
  ["20231114221321.000000-300", "2023-11-15T03:13:21.000Z"],
  ["20231114221321.000000+000", "2023-11-14T22:13:21.000Z"],
  ["14.11.2023 22:13", "1970-01-01T00:00:00.000Z"],
])("the CIM time %s is %s", (text, iso) => {
  expect(parseCimDateTime(text).toISOString()).toBe(iso);
});

describe("failures", () => {
  test.each([
    [32768, "cluster service"],
    [32770, "Cluster Shared Volume"],
    [32775, "exactly one node"],
  ])("a checkpoint job that ends with %i says what to do in the guests", (jobErrorCode, words) => {
    const error = toHostError({ ...ERROR, code: "HV_JOB_FAILED", jobErrorCode }, "checkpoint", "New-X");
    expect(error.code).toBe("QUIESCE_FAILED");
    expect(error.message).toContain(words);
  });

  test.each([0xc03a0029, 0xc03a0030, 0xc03a0029 | 0])(
    "the return value %i is a lost reference, signed or not",
    (wmiReturnValue) => {
      expect(trackingLoss({ ...ERROR, wmiReturnValue })).toBe("REFERENCE_POINT_LOST");
    },
  );

  test("numbers of change tracking mean nothing outside of it", () => {
    expect(
      toHostError({ ...ERROR, code: "HV_CALL_FAILED", jobErrorText: "0xC03A0029" }, "storage", "New-X").code,
    ).toBe("STORAGE_SNAPSHOT_FAILED");
  });

  test("the same host code has the meaning of what was being done", () => {
    const codeOf = (code: string, activity: Parameters<typeof toHostError>[1]) =>
      toHostError({ ...ERROR, code }, activity, "X").code;
    expect(codeOf("HV_JOB_TIMED_OUT", "checkpoint")).toBe("QUIESCE_TIMED_OUT");
    expect(codeOf("HV_JOB_TIMED_OUT", "reference")).toBe("HYPERV_CALL_FAILED");
    expect(codeOf("HV_NOT_FOUND", "reference")).toBe("HYPERV_OBJECT_MISSING");
    expect(codeOf("HV_NOT_FOUND", "collection")).toBe("COLLECTION_FAILED");
    expect(codeOf("HV_MERGE_UNFINISHED", "reference")).toBe("MERGE_UNFINISHED");
    expect(codeOf("HV_ACCESS_DENIED", "query")).toBe("HYPERV_ACCESS_DENIED");
    expect(codeOf("SOMETHING_NEW", "query")).toBe("HYPERV_CALL_FAILED");
  });
});
