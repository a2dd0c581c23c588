/** Header names that concern one connection only (RFC 7230); the relay forbids them in both directions. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "close",
  "connection",
  "content-length",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

export function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name.toLowerCase());
}

/** Whether a header can be written to an HTTP message at all (RFC 7230 §3.2): no line ends, no control characters. */
export function isHeaderValid(name: string, value: string): boolean {
  return NAME.test(name) && VALUE.test(value);
}

/** Headers with names in lower case, without hop-by-hop ones. Names that differ in case only are joined by ", ". */
export function normaliseHeaders(
  headers: Iterable<readonly [name: string, value: string]>,
): Readonly<Record<string, string>> {
  const result = Object.create(null) as Record<string, string>; // no prototype: a header may be called "__proto__"
  for (const [name, value] of headers) {
    const key = name.toLowerCase();
    if (HOP_BY_HOP.has(key)) continue;
    const before = result[key];
    result[key] = before === undefined ? value : `${before}, ${value}`;
  }
  return result;
}
