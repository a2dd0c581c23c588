import { setTimeout as sleep } from "node:timers/promises";
import type { Consistency, VmId } from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import type { RunningEstate } from "./running-estate.ts";

/** When a member stopped and went on, as the host saw it. */
export interface FreezeTimes {
  readonly vmId: VmId;
  readonly frozenAt: Date;
  readonly thawedAt: Date;
  readonly frozenMs: number;
}

export interface FrozenMembers {
  /** Throws once the deadline has passed: the members run again, so nothing may be made of their disks. */
  insist(): void;
  /** Lets the members go on. May be called again. */
  thaw(): readonly FreezeTimes[];
}

/**
 * Freezes members side by side; each needs its own time, so the fast ones stand still until the slowest has joined. From the first
 * request on a timer of the host's own runs: at `deadlineMs` everybody goes on, whatever the caller does.
 *
 * @throws BackupError QUIESCE_TIMED_OUT, QUIESCE_FAILED; the members run on then
 */
export async function freezeMembers(
  estate: RunningEstate,
  vmIds: readonly VmId[],
  request: { readonly consistency: Consistency; readonly deadlineMs: number },
): Promise<FrozenMembers> {
  const { consistency, deadlineMs } = request;
  const stopped = new Map<VmId, { readonly at: Date; readonly ticks: number }>();
  const times: FreezeTimes[] = [];
  const waiting = new Set(vmIds);
  const deadline = new AbortController();
  const giveUp = AbortSignal.any([deadline.signal, estate.stopping.signal]);

  const thaw = () => {
    clearTimeout(timer);
    for (const vmId of vmIds) {
      estate.member(vmId).thaw();
      const stop = stopped.get(vmId);
      if (stop === undefined) continue;
      times.push({ vmId, frozenAt: stop.at, thawedAt: new Date(), frozenMs: performance.now() - stop.ticks });
      stopped.delete(vmId);
    }
    return times;
  };
  const timer = setTimeout(() => {
    deadline.abort();
    thaw();
  }, deadlineMs);
  const expired = () => {
    const names = [...waiting].map((vmId) => estate.vm(vmId).name).join(", ");
    return new BackupError(
      "QUIESCE_TIMED_OUT",
      names === ""
        ? `the checkpoint was not made within ${deadlineMs} ms after the freeze began; the members run on. Raise the deadline.`
        : `${names} could not be frozen within ${deadlineMs} ms; the members run on. Check the guests' VSS writers, or raise the deadline.`,
      { retry: "later", facts: { deadlineMs, members: names } },
    );
  };

  const freezeOne = async (vmId: VmId) => {
    const { name, freezeMs } = estate.vm(vmId);
    const cost = estate.faults.take("freeze-slow", (fault) => fault.vmId === vmId)?.ms ?? freezeMs;
    const hangs = estate.faults.take("freeze-hangs", (fault) => fault.vmId === vmId) !== undefined;
    const failsVss = estate.faults.take("vss-failed", (fault) => fault.vmId === vmId) !== undefined;
    if (consistency === "application") await sleep(cost, undefined, { signal: giveUp });
    if (consistency === "application" && failsVss) {
      throw new BackupError(
        "QUIESCE_FAILED",
        `the VSS writers of VM ${name} failed (0x800423F4); look at "vssadmin list writers" in the guest`,
        { retry: "later", facts: { vm: name } },
      );
    }
    if (hangs) await sleep(2 ** 31 - 1, undefined, { signal: giveUp });
    giveUp.throwIfAborted(); // nobody may be frozen after the thaw
    await estate.member(vmId).freeze(consistency);
    if (deadline.signal.aborted) return;
    waiting.delete(vmId);
    stopped.set(vmId, { at: new Date(), ticks: performance.now() });
  };

  try {
    const timedOut = new Promise<never>((_, reject) => {
      deadline.signal.addEventListener("abort", () => reject(expired()));
    });
    timedOut.catch(() => undefined);
    await Promise.race([Promise.all(vmIds.map(freezeOne)), timedOut]);
  } catch (error) {
    const reported = deadline.signal.aborted ? expired() : error;
    deadline.abort(); // ends the members that are still on their way
    thaw();
    throw reported;
  }
  return {
    insist() {
      if (deadline.signal.aborted) throw expired();
    },
    thaw,
  };
}
