import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BlobServiceClient, type ContainerClient } from "@azure/storage-blob";
import { azuriteConnectionString, azuriteService } from "../lib/cli/estate/azurite.ts";
import { freePort } from "../lib/cli/estate/free-port.ts";
import { startService } from "../lib/cli/estate/service-process.ts";

/** Azurite in a process of its own, for one test file. */
export async function startAzurite(): Promise<
  AsyncDisposable & { container(name: string): Promise<ContainerClient> }
> {
  const folder = await mkdtemp(join(tmpdir(), "gcb-azurite-"));
  const port = await freePort();
  const process = await startService(azuriteService(folder, join(folder, "log.txt"), port));
  const service = BlobServiceClient.fromConnectionString(azuriteConnectionString(port));
  return {
    async container(name) {
      const container = service.getContainerClient(name);
      await container.createIfNotExists();
      return container;
    },
    async [Symbol.asyncDispose]() {
      await process.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
