const UNITS = ["", "K", "M", "G", "T"] as const;

/** Bytes of a text such as 4096, 64M or 1.5T (powers of 1024); undefined when it is none. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)(?:iB|B)?$/i.exec(text);
  const [, digits, unit] = match ?? [];
  if (digits === undefined || unit === undefined) return undefined;
  const factor = 1_024 ** UNITS.indexOf(unit.toUpperCase() as (typeof UNITS)[number]);
  const bytes = Number(digits) * factor;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Bytes as a person reads them, exact bytes included. */
export function formatBytes(bytes: number): string {
  const power = Math.min(UNITS.length - 1, bytes < 1_024 ? 0 : Math.floor(Math.log2(bytes) / 10));
  if (power === 0) return `${bytes} bytes`;
  return `${(bytes / 1_024 ** power).toFixed(1)} ${UNITS[power] ?? ""}iB (${bytes} bytes)`;
}
