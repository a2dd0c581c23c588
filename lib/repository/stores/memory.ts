import type { ObjectStore } from "../object-store.ts";

/** Keeps objects in memory: for tests. */
export function memoryStore(objects = new Map<string, Uint8Array>()): ObjectStore {
  return {
    description: "memory",
    put(name, bytes, { ifAbsent }) {
      if (ifAbsent && objects.has(name)) return Promise.resolve("exists");
      objects.set(name, Uint8Array.from(bytes));
      return Promise.resolve("created");
    },
    get(name, range) {
      const bytes = objects.get(name);
      if (bytes === undefined || range === undefined) return Promise.resolve(bytes?.slice());
      return Promise.resolve(bytes.slice(range.offsetBytes, range.offsetBytes + range.lengthBytes));
    },
    async *list(prefix) {
      for (const name of [...objects.keys()].filter((each) => each.startsWith(prefix)).sort()) {
        yield await Promise.resolve({
          name,
          sizeBytes: objects.get(name)?.length ?? 0,
          modifiedAt: new Date(0),
        });
      }
    },
    remove(name) {
      objects.delete(name);
      return Promise.resolve();
    },
  };
}
