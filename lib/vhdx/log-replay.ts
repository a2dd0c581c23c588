import type { ByteReader } from "./byte-file.ts";
import type { Inspector } from "./defects.ts";
import { NIL_GUID } from "./guid.ts";
import type { Header } from "./header.ts";
import { LOG_SECTOR_BYTES, MIB } from "./layout.ts";
import {
  examineEntry,
  LogRing,
  MAX_DESCRIPTORS,
  mayBeginEntry,
  readUpdates,
  type EntryFinding,
  type EntryHeader,
  type LogUpdate,
} from "./log-entry.ts";

/** What a dirty log says the file should hold. */
export interface Replay {
  /** Entries of the active sequence. */
  readonly entries: number;
  /** In the order in which they must be applied. */
  readonly updates: readonly LogUpdate[];
  readonly ring: LogRing;
  /** The file is at least this long once the log is replayed. */
  readonly lastFileBytes: number;
}

/**
 * Finds the active sequence of a dirty log ([MS-VHDX] §2.3.3); undefined when the log is empty.
 *
 * The specification's search starts anew at every sector. This one examines every entry once, links each to its
 * successor (next in place, next number, same LogGuid) and asks of every chain's last entry whether its tail is an
 * entry of the same chain: the same sequences, in linear time whatever stands in the ring.
 */
export async function readReplay(
  file: ByteReader,
  header: Header,
  inspector: Inspector,
): Promise<Replay | undefined> {
  if (header.logGuid === NIL_GUID) return undefined;
  const ring = new LogRing(file, header.logOffsetBytes, header.logLengthBytes);
  const findings = await examineAll(ring, header, file.sizeBytes, inspector);
  const entries = findings.flatMap((each) => (each.kind === "valid" ? [each.header] : []));
  const active = activeSequence(entries, ring.lengthBytes);
  const head = active.at(-1);
  refuseDefective(findings, head, inspector);
  if (head === undefined) {
    return inspector.stop(
      "VHDX_LOG_SEQUENCE_MISSING",
      "the header says that the log must be replayed, but the log holds no whole sequence of entries",
    );
  }
  if (file.sizeBytes < head.flushedFileBytes) {
    inspector.stop(
      "VHDX_LOG_FILE_TRUNCATED",
      `the file has ${file.sizeBytes} bytes, but had ${head.flushedFileBytes} when the log was written`,
    );
  }
  const updates: LogUpdate[] = [];
  for (const entry of active) {
    if (updates.length + entry.descriptorCount > MAX_DESCRIPTORS) {
      inspector.stop("VHDX_LOG_TOO_COMPLEX", `the log holds more than ${MAX_DESCRIPTORS} updates`);
    }
    updates.push(...(await readUpdates(ring, entry)));
  }
  return { entries: active.length, updates, ring, lastFileBytes: head.lastFileBytes };
}

async function examineAll(
  ring: LogRing,
  header: Header,
  fileBytes: number,
  inspector: Inspector,
): Promise<EntryFinding[]> {
  // Entries of one writer never overlap, so the sum of honest lengths is at most two laps of the ring.
  let budget = 4 * ring.lengthBytes;
  const spend = (bytes: number): void => {
    budget -= bytes;
    if (budget < 0) {
      inspector.stop("VHDX_LOG_TOO_COMPLEX", "the log holds entries within entries");
    }
  };
  const findings: EntryFinding[] = [];
  const window = new Uint8Array(MIB);
  for (let at = 0; at < ring.lengthBytes; at += window.length) {
    await ring.read(at, window);
    for (let inWindow = 0; inWindow < window.length; inWindow += LOG_SECTOR_BYTES) {
      if (!mayBeginEntry(window.subarray(inWindow, inWindow + LOG_SECTOR_BYTES), header.logGuid)) continue;
      findings.push(await examineEntry(ring, at + inWindow, fileBytes, spend));
    }
  }
  return findings;
}

/** The entries from the tail to the head of the newest whole sequence; none when there is none. */
export function activeSequence(entries: readonly EntryHeader[], ringBytes: number): readonly EntryHeader[] {
  const byPlace = new Map(entries.map((each) => [each.at, each]));
  const chainOf = new Map<EntryHeader, EntryHeader[]>();
  const inOrder = [...entries].sort((a, b) => (a.sequenceNumber < b.sequenceNumber ? -1 : 1));
  const chains: EntryHeader[][] = [];
  for (const entry of inOrder) {
    // A chain is begun by whatever no other entry leads to; entries come in the order of their numbers.
    const chain = chainOf.get(entry) ?? [];
    if (chain.length === 0) {
      chains.push(chain);
      chainOf.set(entry, chain);
    }
    chain.push(entry);
    const next = byPlace.get((entry.at + entry.lengthBytes) % ringBytes);
    if (next?.sequenceNumber === entry.sequenceNumber + 1n && !chainOf.has(next)) chainOf.set(next, chain);
  }
  let best: readonly EntryHeader[] = [];
  for (const chain of chains) {
    const head = chain.at(-1);
    const bestHead = best.at(-1);
    if (head === undefined || (bestHead !== undefined && bestHead.sequenceNumber >= head.sequenceNumber)) {
      continue;
    }
    const tail = byPlace.get(head.tailAt);
    if (tail !== undefined && chainOf.get(tail) === chain) best = chain.slice(chain.indexOf(tail));
  }
  return best;
}

/**
 * An entry with a good checksum that breaks a rule was written so. By the letter it merely ends the sequence before
 * it; but taking the older state would silently drop an update, so a file whose newest entry is such is refused.
 */
function refuseDefective(
  findings: readonly EntryFinding[],
  head: EntryHeader | undefined,
  inspector: Inspector,
): void {
  for (const finding of findings) {
    if (finding.kind !== "defective") continue;
    if (head === undefined || finding.sequenceNumber > head.sequenceNumber) {
      inspector.stop(finding.code, finding.message);
    }
  }
}
