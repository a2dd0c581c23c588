type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** JSON without white space and with sorted keys (the subset of RFC 8785 that strings and safe integers need). */
export function canonicalJson(value: unknown): string {
  return write(JSON.parse(JSON.stringify(value)) as Json);
}

function write(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${write(member)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}
