import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEstate, type Estate } from "../../lib/cli/estate/estate.ts";
import { packageRoot } from "../../lib/cli/estate/package-root.ts";

/** A small installation of its own for one test file: real processes, 24 MiB of shared data. */
export async function installation(): Promise<Estate> {
  if (!existsSync(join(packageRoot(), "dist/functions/http.js"))) {
    throw new Error("the app is not compiled: run npm run build (npm test does)");
  }
  const folder = await mkdtemp(join(tmpdir(), "gcb-e2e-"));
  const estate = await startEstate({
    folder,
    members: 3,
    sharedDisk: { kind: "files", megabytes: 24 },
    relayTimeoutMs: 22_000, // just above the agent's longest poll, so that a killed agent does not cost a minute
  });
  const end = estate[Symbol.asyncDispose].bind(estate);
  return {
    ...estate,
    async [Symbol.asyncDispose]() {
      await end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
