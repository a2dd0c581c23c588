import type { DurableTaskSettings } from "../app/host-json.ts";

/**
 * Orders two versions: dotted numbers by value, all else as text. Versions without a value come first.
 * @returns below, at or above zero
 */
export function compareVersions(a: string, b: string): number {
  const left = a.split(".");
  const right = b.split(".");
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const x = left[index] ?? "";
    const y = right[index] ?? "";
    const bothNumbers = /^\d+$/.test(x) && /^\d+$/.test(y);
    const order = bothNumbers ? Number(x) - Number(y) : x < y ? -1 : x > y ? 1 : 0;
    if (order !== 0) return order;
  }
  return 0;
}

/** Whether this host may run an instance of that version (host.json versionMatchStrategy). */
export function matchesVersion(version: string, settings: DurableTaskSettings): boolean {
  const own = settings.defaultVersion;
  if (own === undefined) return true;
  switch (settings.versionMatchStrategy) {
    case "None":
      return true;
    case "Strict":
      return version === own;
    case "CurrentOrOlder":
      return compareVersions(version, own) <= 0;
  }
}
