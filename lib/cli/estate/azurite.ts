import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { BackupError } from "../../errors/index.ts";
import type { ServiceOptions } from "./service-process.ts";

/** The publicly documented account of every storage emulator; it protects nothing. */
const ACCOUNT = "devstoreaccount1";
const KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/** Azurite's blob service on loopback, its data in `folder`. */
export function azuriteService(
  folder: string,
  logFile: string,
  port: number,
): ServiceOptions<{ readonly port: number }> {
  return {
    name: "azurite",
    nodeArguments: [
      azuriteScript(),
      ...["--blobHost", "127.0.0.1", "--blobPort", String(port), "--location", folder],
      ...["--disableTelemetry", "--skipApiVersionCheck", "--silent"],
    ],
    logFile,
    readyWhen: (line) => (line.includes("successfully listens on") ? { port } : undefined),
  };
}

export function azuriteConnectionString(port: number): string {
  const endpoint = `http://127.0.0.1:${String(port)}/${ACCOUNT}`;
  return `DefaultEndpointsProtocol=http;AccountName=${ACCOUNT};AccountKey=${KEY};BlobEndpoint=${endpoint};`;
}

export function azuriteContainerUrl(port: number, container: string): string {
  return `http://127.0.0.1:${String(port)}/${ACCOUNT}/${container}`;
}

function azuriteScript(): string {
  try {
    const manifest = createRequire(import.meta.url).resolve("azurite/package.json");
    return join(dirname(manifest), "dist/src/blob/main.js");
  } catch (cause) {
    throw new BackupError(
      "ESTATE_SERVICE_FAILED",
      "azurite is not installed; it is a devDependency: run npm ci without --omit=dev, then try again",
      { retry: "after-operator", cause },
    );
  }
}
