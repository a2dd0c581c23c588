import { isAbsolute } from "node:path";
import { ContainerClient } from "@azure/storage-blob";
import { BackupError } from "../../errors/index.ts";
import type { ObjectStore } from "../object-store.ts";
import { azureBlobStore } from "./azure-blob.ts";
import { directoryStore } from "./directory.ts";

const DIRECTORY = "directory:";

/**
 * The store at a URL that brings its own rights: `https://…/CONTAINER?SAS`, `directory:/PATH`, or an absolute path.
 *
 * @throws BackupError INPUT_INVALID without the URL's query, which is a secret
 */
export function openStore(url: string): ObjectStore {
  if (url.startsWith(DIRECTORY)) return directoryStore(url.slice(DIRECTORY.length));
  if (isAbsolute(url)) return directoryStore(url);
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === "https:" || parsed?.protocol === "http:") {
    return azureBlobStore(
      new ContainerClient(url, undefined, { retryOptions: { maxTries: 6, tryTimeoutInMs: 120_000 } }),
    );
  }
  const shown = url.split("?")[0] ?? "";
  throw new BackupError(
    "INPUT_INVALID",
    `"${shown}" is no repository URL; give https://ACCOUNT.blob.core.windows.net/CONTAINER?SAS or directory:/PATH`,
    { retry: "after-operator" },
  );
}
