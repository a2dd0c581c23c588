import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import * as z from "zod";
import { connectSimulatedHost, createEstate, startSimulatedHost } from "../../lib/simulated-host/index.ts";
import { describeHyperVHost, type HostUnderTest } from "./hyperv-host-contract.ts";

async function writtenBytes(url: string): Promise<number> {
  const answer: unknown = await (await fetch(new URL("/status", url))).json();
  return z.object({ writtenBytes: z.number() }).parse(answer).writtenBytes;
}

/** The simulated host over a small estate of its own; its writers write all the time. */
async function openSimulatedHost(): Promise<HostUnderTest> {
  const root = await mkdtemp(join(tmpdir(), "gcb-contract-"));
  const folder = join(root, "estate");
  const estate = await createEstate({
    folder,
    sharedDisk: { kind: "files", megabytes: 4 },
    vms: 2,
    seed: 7,
    privateMegabytes: 1,
    freezeMs: [5, 5],
  });
  const simulated = await startSimulatedHost({ folder });
  return {
    host: connectSimulatedHost({ url: simulated.url }),
    members: estate.members.map(({ vmId }) => vmId),
    sharedPath: estate.sharedDiskPath,
    sharedBytes: estate.sharedDiskBytes,
    // The writers write by themselves: it is enough to see them do it.
    async write() {
      const before = await writtenBytes(simulated.url);
      await expect
        .poll(() => writtenBytes(simulated.url), { timeout: 30_000 })
        .toBeGreaterThan(before + 65_536);
    },
    async [Symbol.asyncDispose]() {
      await simulated.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}

describeHyperVHost("the simulated host", openSimulatedHost);
