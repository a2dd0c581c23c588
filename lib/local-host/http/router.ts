/** One part of a route template between slashes. */
type Segment =
  | { readonly kind: "literal"; readonly text: string }
  | {
      readonly kind: "parameter";
      readonly name: string;
      readonly optional: boolean;
      readonly constraints: readonly Constraint[];
    }
  | { readonly kind: "rest"; readonly name: string }
  | { readonly kind: "mixed"; readonly pattern: RegExp; readonly names: readonly string[] };

type Constraint = (value: string) => boolean;

export interface Route<T> {
  readonly template: string;
  /** Upper case. */
  readonly methods: readonly string[];
  readonly target: T;
  readonly segments: readonly Segment[];
}

export interface Match<T> {
  readonly route: Route<T>;
  readonly parameters: Readonly<Record<string, string>>;
}

/**
 * Reads an ASP.NET route template: literals, `{name}`, `{name?}`, `{*rest}` and constraints such as `{id:int:min(1)}`.
 *
 * @throws Error naming what can't be read
 */
export function parseRoute<T>(template: string, methods: readonly string[], target: T): Route<T> {
  const parts = splitTemplate(template);
  const segments = parts.map((part) => parseSegment(part, template));
  const rest = segments.findIndex(({ kind }) => kind === "rest");
  if (rest >= 0 && rest !== segments.length - 1)
    throw new Error(`route "${template}": a catch-all must be the last part`);
  return { template, methods: methods.map((method) => method.toUpperCase()), target, segments };
}

/**
 * The route for a path, the most specific first: literals before constrained before free parameters before catch-alls.
 *
 * @param path without the leading slash, still percent-encoded
 */
export function matchRoute<T>(
  routes: readonly Route<T>[],
  method: string,
  path: string,
): Match<T> | undefined {
  const given = path
    .split("/")
    .filter((part) => part !== "")
    .map(decode);
  let best: Match<T> | undefined;
  for (const route of routes) {
    if (!route.methods.includes(method.toUpperCase())) continue;
    const parameters = matchSegments(route.segments, given);
    if (parameters === undefined) continue;
    if (best === undefined || comparePrecedence(route.segments, best.route.segments) < 0)
      best = { route, parameters };
  }
  return best;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Splits at slashes outside braces, because a regex constraint may hold one. */
function splitTemplate(template: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let part = "";
  for (const char of template) {
    if (char === "{") depth++;
    if (char === "}") depth--;
    if (char === "/" && depth === 0) {
      if (part !== "") parts.push(part);
      part = "";
    } else {
      part += char;
    }
  }
  if (part !== "") parts.push(part);
  return parts;
}

function parseSegment(part: string, template: string): Segment {
  const whole = /^\{(.*)\}$/s.exec(part)?.[1];
  if (whole === undefined || /(?<!\))\}.*\{/s.test(whole))
    return part.includes("{") ? mixedSegment(part) : { kind: "literal", text: part.toLowerCase() };
  const rest = /^\*{1,2}(\w+)$/.exec(whole)?.[1];
  if (rest !== undefined) return { kind: "rest", name: rest };
  const match = /^([A-Za-z_][\w-]*)((?::(?:[A-Za-z]+)(?:\(.*?\))?)*)(\?)?$/s.exec(whole);
  const [, name, constraints = "", optional] = match ?? [];
  if (name === undefined) throw new Error(`route "${template}": "{${whole}}" can't be read`);
  return {
    kind: "parameter",
    name,
    optional: optional !== undefined,
    constraints: [...constraints.matchAll(/:([A-Za-z]+)(?:\((.*?)\)(?=:|$))?/gs)].map(
      ([, kind = "", argument = ""]) => constraint(kind, argument, template),
    ),
  };
}

function mixedSegment(part: string): Segment {
  const names: string[] = [];
  const source = part
    .split(/(\{\w+\})/)
    .map((piece) => {
      const name = /^\{(\w+)\}$/.exec(piece)?.[1];
      if (name === undefined) return piece.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      names.push(name);
      return "(.+?)";
    })
    .join("");
  return { kind: "mixed", pattern: new RegExp(`^${source}$`, "i"), names };
}

function constraint(kind: string, argument: string, template: string): Constraint {
  const numbers = argument.split(",").map(Number);
  const [low = Number.NaN, high = low] = numbers;
  switch (kind) {
    case "int":
    case "long":
      return (value) => /^[+-]?\d+$/.test(value);
    case "decimal":
    case "double":
    case "float":
      return (value) => /^[+-]?\d*\.?\d+(e[+-]?\d+)?$/i.test(value);
    case "bool":
      return (value) => /^(true|false)$/i.test(value);
    case "guid":
      return (value) => /^[{(]?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}[)}]?$/i.test(value);
    case "datetime":
      return (value) => !Number.isNaN(Date.parse(value));
    case "alpha":
      return (value) => /^[a-z]*$/i.test(value);
    case "length":
      return (value) => value.length >= low && value.length <= high;
    case "minlength":
      return (value) => value.length >= low;
    case "maxlength":
      return (value) => value.length <= low;
    case "min":
      return (value) => Number(value) >= low;
    case "max":
      return (value) => Number(value) <= low;
    case "range":
      return (value) => Number(value) >= low && Number(value) <= high;
    case "required":
      return (value) => value !== "";
    case "regex": {
      const pattern = new RegExp(argument.replaceAll("{{", "{").replaceAll("}}", "}"), "i");
      return (value) => pattern.test(value);
    }
    default:
      throw new Error(`route "${template}": constraint "${kind}" is not known`);
  }
}

function matchSegments(
  segments: readonly Segment[],
  given: readonly string[],
): Record<string, string> | undefined {
  const parameters: Record<string, string> = {};
  let index = 0;
  for (const segment of segments) {
    const value = given[index];
    switch (segment.kind) {
      case "rest":
        parameters[segment.name] = given.slice(index).join("/");
        return parameters;
      case "literal":
        if (value?.toLowerCase() !== segment.text) return undefined;
        break;
      case "mixed": {
        const found = value === undefined ? null : segment.pattern.exec(value);
        if (found === null) return undefined;
        segment.names.forEach((name, at) => (parameters[name] = found[at + 1] ?? ""));
        break;
      }
      case "parameter":
        if (value === undefined) {
          if (!segment.optional) return undefined;
          continue;
        }
        if (!segment.constraints.every((holds) => holds(value))) return undefined;
        parameters[segment.name] = value;
        break;
    }
    index++;
  }
  return index >= given.length ? parameters : undefined;
}

function precedence(segment: Segment | undefined): number {
  switch (segment?.kind) {
    case undefined:
      return 0;
    case "literal":
      return 1;
    case "mixed":
      return 2;
    case "parameter":
      return segment.constraints.length > 0 ? 3 : 4;
    case "rest":
      return 5;
  }
}

function comparePrecedence(a: readonly Segment[], b: readonly Segment[]): number {
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const order = precedence(a[index]) - precedence(b[index]);
    if (order !== 0) return order;
  }
  return 0;
}
