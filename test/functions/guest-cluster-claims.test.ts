import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  blobLeaseClaims,
  objectClaims,
  type GuestClusterClaims,
} from "../../functions/ports/guest-cluster-claims.ts";
import type { GuestClusterId, RunId } from "../../lib/contracts/index.ts";
import { memoryStore } from "../../lib/repository/index.ts";
import { startAzurite } from "../azurite.ts";

const cluster = "sql" as GuestClusterId;
const first = "20261123t020000z-00000001" as RunId;
const second = "20261123t030000z-00000002" as RunId;

let azurite: Awaited<ReturnType<typeof startAzurite>>;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite[Symbol.asyncDispose]());

type Claims = (controlPlane: string) => GuestClusterClaims;
let containers = 0;

test("a lease whose holder died before it said who it is does not block the guest cluster for ever", async () => {
  const container = await azurite.container("half-claimed");
  const blob = container.getBlockBlobClient(`claims/${cluster}`);
  await blob.upload("", 0);
  await blob.getBlobLeaseClient().acquireLease(-1);
  expect(await blobLeaseClaims(container, "ours").claim(cluster, first)).toEqual({ kind: "claimed" });
});

test("of two control planes that claim at the same moment exactly one gets it", async () => {
  const container = await azurite.container("meeting");
  const [ours, theirs] = await Promise.allSettled([
    blobLeaseClaims(container, "ours").claim(cluster, first),
    blobLeaseClaims(container, "theirs").claim(cluster, second),
  ]);
  const claimed = [ours, theirs].filter(
    (each) => each.status === "fulfilled" && each.value.kind === "claimed",
  );
  expect(claimed).toHaveLength(1);
});

describe.each<[string, () => Promise<Claims>]>([
  [
    "blob leases",
    async () => {
      const container = await azurite.container(`claims-${String(containers++)}`);
      return (controlPlane) => blobLeaseClaims(container, controlPlane);
    },
  ],
  [
    "claim objects",
    () => {
      const store = memoryStore();
      return Promise.resolve((controlPlane) => objectClaims(store, controlPlane));
    },
  ],
])("%s", (_kind, open) => {
  test("a claim is taken once, and taking it again for the same run is the same claim", async () => {
    const claims = (await open())("ours");
    expect(await claims.claim(cluster, first)).toEqual({ kind: "claimed" });
    expect(await claims.claim(cluster, first)).toEqual({ kind: "claimed" });
  });

  test("another control plane is told who holds the guest cluster", async () => {
    const claims = await open();
    await claims("ours").claim(cluster, first);
    expect(await claims("theirs").claim(cluster, second)).toEqual({
      kind: "held",
      byRun: first,
      byControlPlane: "ours",
    });
  });

  test("what a dead run of the same control plane left behind is taken over", async () => {
    const claims = await open();
    await claims("ours").claim(cluster, first);
    expect(await claims("ours").claim(cluster, second)).toEqual({ kind: "claimed" });
    expect(await claims("theirs").claim(cluster, first)).toMatchObject({ kind: "held", byRun: second });
  });

  test("after the release anybody may claim; a late release of an older run takes nothing away", async () => {
    const claims = await open();
    await claims("ours").claim(cluster, first);
    await claims("ours").release(cluster, first);
    expect(await claims("theirs").claim(cluster, second)).toEqual({ kind: "claimed" });
    await claims("ours").release(cluster, first);
    expect(await claims("ours").claim(cluster, first)).toMatchObject({
      kind: "held",
      byControlPlane: "theirs",
    });
  });
});
