/** JSON text of a value, or undefined for what has none (undefined itself, a function). */
export function toJson(value: unknown): string | undefined {
  return JSON.stringify(value);
}
