import { DefaultAzureCredential } from "@azure/identity";
import {
  BlobServiceClient,
  ContainerSASPermissions,
  generateBlobSASQueryParameters,
  type ContainerClient,
} from "@azure/storage-blob";
import { BackupError } from "../../lib/errors/index.ts";
import { azureBlobStore, directoryStore, type ObjectStore } from "../../lib/repository/index.ts";
import { blobLeaseClaims, objectClaims, type GuestClusterClaims } from "./guest-cluster-claims.ts";
import type { Settings } from "./settings.ts";

/** An agent ships with one URL for at most this long; every poll of the operation brings a fresh one. */
const AGENT_URL_VALID_MS = 4 * 60 * 60_000;
/** Clocks of host and storage may differ. */
const CLOCK_SKEW_MS = 5 * 60_000;

/** The repository's place: how the control plane gets in, how an agent does, and who may work on a guest cluster. */
export interface RepositoryLocation {
  readonly store: ObjectStore;
  readonly claims: GuestClusterClaims;
  readonly agentUrl: () => Promise<string>;
}

const DIRECTORY = "directory:";

/** @throws BackupError SETTINGS_INVALID */
export function openRepositoryLocation(settings: Settings): RepositoryLocation {
  const { GCB_REPOSITORY_URL: url, GCB_REPOSITORY_CONNECTION: connection } = settings;
  if (url.startsWith(DIRECTORY)) {
    const store = directoryStore(url.slice(DIRECTORY.length));
    return {
      store,
      claims: objectClaims(store, settings.TASKHUB_NAME),
      agentUrl: () => Promise.resolve(url),
    };
  }
  const { account, containerName } = parseContainerUrl(url);
  const service =
    connection === undefined
      ? new BlobServiceClient(account, new DefaultAzureCredential())
      : BlobServiceClient.fromConnectionString(connection);
  const container = service.getContainerClient(containerName);
  return {
    store: azureBlobStore(container),
    claims: blobLeaseClaims(container, settings.TASKHUB_NAME),
    agentUrl:
      connection === undefined ? () => delegatedUrl(service, container) : () => sharedKeyUrl(container),
  };
}

/** Create and read, list for the index; neither write over nor delete. */
function agentRights() {
  const now = Date.now();
  return {
    permissions: ContainerSASPermissions.parse("rcl"),
    startsOn: new Date(now - CLOCK_SKEW_MS),
    expiresOn: new Date(now + AGENT_URL_VALID_MS),
  };
}

function sharedKeyUrl(container: ContainerClient): Promise<string> {
  return container.generateSasUrl(agentRights());
}

/** Signed with a user delegation key, so that no account key is needed anywhere. */
async function delegatedUrl(service: BlobServiceClient, container: ContainerClient): Promise<string> {
  const rights = agentRights();
  const key = await service.getUserDelegationKey(rights.startsOn, rights.expiresOn);
  const values = { ...rights, containerName: container.containerName };
  const sas = generateBlobSASQueryParameters(values, key, service.accountName).toString();
  return `${container.url}?${sas}`;
}

/** `https://account.blob.core.windows.net/container`, or with the account as the first path segment (Azurite). */
function parseContainerUrl(text: string): { readonly account: string; readonly containerName: string } {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const containerName = url?.pathname.split("/").filter(Boolean).at(-1);
  if (
    url === undefined ||
    !/^https?:$/.test(url.protocol) ||
    containerName === undefined ||
    url.search !== ""
  ) {
    throw new BackupError(
      "SETTINGS_INVALID",
      "GCB_REPOSITORY_URL must be https://ACCOUNT.blob.core.windows.net/CONTAINER without a query, or directory:/PATH",
      { retry: "after-operator" },
    );
  }
  return { account: new URL(text.slice(0, text.lastIndexOf(`/${containerName}`))).toString(), containerName };
}
