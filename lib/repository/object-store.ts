export interface StoredObject {
  readonly name: string;
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
}

/**
 * Where a repository's objects are kept. Names are relative paths of `[a-z0-9._/-]`. All methods reject with BackupError
 * STORE_UNAVAILABLE (retry later) or STORE_REFUSED (rights, retry after-operator).
 */
export interface ObjectStore {
  /** What the store is, for messages; without credentials. */
  readonly description: string;
  /** Writes the whole object or nothing. With `ifAbsent` an existing object stays as it is and the answer is "exists". */
  put(
    name: string,
    bytes: Uint8Array,
    options: { readonly ifAbsent: boolean },
  ): Promise<"created" | "exists">;
  /** The object, or `range` of it (cut at its end); undefined when there is none. */
  get(
    name: string,
    range?: { readonly offsetBytes: number; readonly lengthBytes: number },
  ): Promise<Uint8Array | undefined>;
  /** All objects whose name begins with `prefix`, in ascending order of names. */
  list(prefix: string): AsyncIterable<StoredObject>;
  /** Gone already is fine. */
  remove(name: string): Promise<void>;
}
