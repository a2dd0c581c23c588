import { join } from "node:path";
import type { ByteRange, ChangeSource, ReferencePoint } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import { chooseChangeSource, mergeRanges, totalBytes } from "../../changes/index.ts";
import { writeChangeList } from "../change-list.ts";
import type { RunDisk } from "../journal/run-facts.ts";
import type { Handler, OperationContext } from "./operation.ts";

/** One question to the host covers at most this much of the disk, so that an answer stays small (hyperv.md §1.6). */
const PAGE_BYTES = 1024 * 1024 * 1024;

/** Finds per disk what changed since its last restore point. The list stays on the agent; the answer counts it. */
export const changeRanges: Handler<"change-ranges"> = async ({ previous, requested }, context) => {
  const { facts, host } = context;
  const { disks } = facts.need("point", "consistency-point");
  const references = facts.need("references", "update-references");
  const { members } = facts.need("membersTouched", "consistency-point");
  const onHost = (await host.findReferencePoints(members)).flatMap((collection) => collection.disks);
  const results = [];
  for (const disk of disks) {
    const { diskId, virtualSizeBytes } = disk;
    const last = previous.find((each) => each.diskId === diskId);
    const source = chooseChangeSource({
      ...{ requested, virtualSizeBytes, previous: last },
      onHost: onHost.filter((each) => each.diskId === diskId),
    });
    const until = references.disks.find((each) => each.diskId === diskId)?.referencePoint;
    const since = last?.referencePoint ?? undefined;
    const found = await find(disk, source, since, until, context);
    facts.note("changes", found, diskId);
    const { changedBytes, ranges } = found;
    results.push({ diskId, source: found.source, changedBytes, ranges });
  }
  return { disks: results };
};

interface Found {
  readonly source: ChangeSource;
  readonly changedBytes: number;
  readonly ranges: number;
  readonly listDigest: string | null;
}

async function find(
  disk: RunDisk,
  source: ChangeSource,
  since: ReferencePoint | undefined,
  until: ReferencePoint | undefined,
  context: OperationContext,
): Promise<Found> {
  const readAll = (everything: ChangeSource): Found => ({
    ...{ source: everything, changedBytes: disk.virtualSizeBytes, ranges: 0, listDigest: null },
  });
  if (source.kind !== "rct" || since === undefined || until === undefined) return readAll(source);
  let ranges: ByteRange[];
  try {
    ranges = await askForChanges(disk, since, until, context);
  } catch (error) {
    const reason = reasonToCompare(error);
    if (reason === undefined) throw error;
    const { diskId, path } = disk;
    const facts = { runId: context.runId, diskId, path, reason, why: String(error) };
    context.log("warn", "change tracking is lost or doubtful; the disk is read completely", facts);
    return readAll({ kind: "compare", reason });
  }
  const listDigest = await writeChangeList(changeListFile(context, disk), ranges);
  return { source, changedBytes: totalBytes(ranges), ranges: ranges.length, listDigest };
}

export function changeListFile(
  context: Pick<OperationContext, "runDirectory">,
  disk: Pick<RunDisk, "diskId">,
): string {
  return join(context.runDirectory, `${disk.diskId}.changes`);
}

/** An answer that makes no sense is as good as none: the disk is read completely. */
function reasonToCompare(error: unknown): Extract<ChangeSource, { kind: "compare" }>["reason"] | undefined {
  if (!(error instanceof BackupError)) return undefined;
  if (error.code === "REFERENCE_POINT_LOST" || error.code === "HYPERV_ANSWER_INVALID")
    return "reference-point-lost";
  if (error.code === "TRACKING_DISABLED") return "tracking-disabled";
  return undefined;
}

async function askForChanges(
  { path, virtualSizeBytes }: RunDisk,
  since: ReferencePoint,
  until: ReferencePoint,
  { host, signal }: OperationContext,
): Promise<ByteRange[]> {
  const ranges: ByteRange[] = [];
  for (let offsetBytes = 0; offsetBytes < virtualSizeBytes;) {
    signal.throwIfAborted();
    const range = { offsetBytes, lengthBytes: Math.min(PAGE_BYTES, virtualSizeBytes - offsetBytes) };
    const page = await host.getDiskChanges({ path, since, until, range });
    const isForward = Number.isSafeInteger(page.processedBytes) && page.processedBytes > 0;
    if (!isForward || page.processedBytes > range.lengthBytes) {
      throw nonsense(path, `it processed ${page.processedBytes} of ${range.lengthBytes} bytes`);
    }
    for (const found of page.ranges) ranges.push(clip(found, path, virtualSizeBytes));
    offsetBytes += page.processedBytes;
  }
  return mergeRanges(ranges);
}

/** A range may be rounded out over the end of the disk, but it cannot begin there. */
function clip({ offsetBytes, lengthBytes }: ByteRange, path: string, sizeBytes: number): ByteRange {
  const end = offsetBytes + lengthBytes;
  if (!(offsetBytes >= 0 && offsetBytes < sizeBytes && lengthBytes > 0 && Number.isSafeInteger(end))) {
    throw nonsense(path, `it named the range ${offsetBytes}+${lengthBytes} of a disk of ${sizeBytes} bytes`);
  }
  return { offsetBytes, lengthBytes: Math.min(end, sizeBytes) - offsetBytes };
}

function nonsense(path: string, what: string): BackupError {
  return new BackupError("HYPERV_ANSWER_INVALID", `the change map of ${path} makes no sense: ${what}`, {
    facts: { path },
  });
}
