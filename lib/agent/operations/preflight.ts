import { toErrorDocument } from "../../errors/index.ts";
import { decidePreflight, type Answer } from "./decide-preflight.ts";
import type { Handler } from "./operation.ts";

/** Asks the host everything at once and changes nothing; the decisions are `decidePreflight`'s. */
export const preflight: Handler<"preflight"> = async ({ members, consistency }, context) => {
  const { host, runId } = context;
  const machines = await answer(host.getVirtualMachines(members));
  // Only a running guest can say anything about its cluster; the others are a finding already.
  const running = machines.ok
    ? machines.value.filter(({ state }) => state === "running").map(({ vmId }) => vmId)
    : [];
  const present = machines.ok ? machines.value.map(({ vmId }) => vmId) : [];
  const [guestCluster, readiness, recoveryCheckpoints, storageSnapshots] = await Promise.all([
    answer(running.length === 0 ? Promise.resolve([]) : host.getGuestClusterInformation(running)),
    answer(host.getReadiness(present)),
    answer(host.findRecoveryCheckpoints(present)),
    answer(host.findStorageSnapshots()),
  ]);
  const otherRuns = context.otherRuns();
  const asked = { machines, guestCluster, readiness, recoveryCheckpoints, storageSnapshots };
  return { findings: decidePreflight({ runId, members, consistency, otherRuns, ...asked }) };
};

async function answer<T>(question: Promise<T>): Promise<Answer<T>> {
  try {
    return { ok: true, value: await question };
  } catch (error) {
    return { ok: false, error: toErrorDocument(error) };
  }
}
