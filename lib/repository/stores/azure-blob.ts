import { RestError, type BlockBlobClient, type ContainerClient } from "@azure/storage-blob";
import { BackupError } from "../../errors/index.ts";
import type { ObjectStore } from "../object-store.ts";

/** Keeps objects as block blobs. The client brings credentials and retries. */
export function azureBlobStore(container: ContainerClient): ObjectStore {
  const description = `container ${new URL(container.url).host}/${container.containerName}`;
  const act = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw storeError(description, what, error);
    }
  };
  return {
    description,
    put(name, bytes, { ifAbsent }) {
      return act(`put ${name}`, async () => {
        const blob = container.getBlockBlobClient(name);
        const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        try {
          await blob.upload(body, body.length, ifAbsent ? { conditions: { ifNoneMatch: "*" } } : {});
          return "created";
        } catch (error) {
          if (ifAbsent && (await isThere(blob, error))) return "exists";
          throw error;
        }
      });
    },
    get(name, range) {
      return act(`get ${name}`, async () => {
        try {
          const blob = container.getBlockBlobClient(name);
          if (range === undefined) return await blob.downloadToBuffer();
          return await blob.downloadToBuffer(range.offsetBytes, range.lengthBytes);
        } catch (error) {
          if (error instanceof RestError && error.statusCode === 404) return undefined;
          if (error instanceof RestError && error.statusCode === 416) return Buffer.alloc(0); // behind the object's end
          throw error;
        }
      });
    },
    async *list(prefix) {
      try {
        for await (const { name, properties } of container.listBlobsFlat({ prefix })) {
          yield { name, sizeBytes: properties.contentLength ?? 0, modifiedAt: properties.lastModified };
        }
      } catch (error) {
        throw storeError(description, `list ${prefix}`, error);
      }
    },
    async remove(name) {
      await act(`remove ${name}`, () => container.getBlockBlobClient(name).deleteIfExists());
    },
  };
}

/**
 * Whether a refused creation means that the blob exists. A token that may create but not overwrite is refused with 403 before
 * the condition is looked at, so that answer is only understood by asking for the blob.
 */
async function isThere(blob: BlockBlobClient, error: unknown): Promise<boolean> {
  if (!(error instanceof RestError)) return false;
  if (error.code === "BlobAlreadyExists" || error.statusCode === 412) return true;
  return error.statusCode === 403 && (await blob.exists().catch(() => false));
}

/** The service's words without the request: that one can hold a token. */
function storeError(description: string, what: string, error: unknown): unknown {
  if (error instanceof BackupError || (error instanceof Error && error.name === "AbortError")) return error;
  const { statusCode = 0, code = "no answer" } = error instanceof RestError ? error : {};
  const isRefused = statusCode === 401 || statusCode === 403;
  const remedy = isRefused
    ? "check the rights of the identity or SAS"
    : "check the storage account and the network";
  return new BackupError(
    isRefused ? "STORE_REFUSED" : "STORE_UNAVAILABLE",
    `${what} in ${description} failed: ${code} (${String(statusCode)}); ${remedy}`,
    { retry: isRefused ? "after-operator" : "later", facts: { what, status: statusCode, service: code } },
  );
}
