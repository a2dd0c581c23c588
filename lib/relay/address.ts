import * as z from "zod";
import { BackupError } from "../errors/index.ts";

/** One hybrid connection: the namespace's endpoint and the connection's path in it. */
export interface RelayAddress {
  /** `https://{namespace}.servicebus.windows.net`, or `http://127.0.0.1:port` of the emulator. */
  readonly endpoint: string;
  /** One or more segments, e.g. `agents/host-01`. */
  readonly path: string;
}

const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"]);
const SEGMENT = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;

const Address = z.object({
  endpoint: z.string().max(512).refine(isBareEndpoint, {
    error: "must be https://{namespace host} (http only on loopback) without path, query or user",
  }),
  path: z
    .string()
    .max(260)
    .refine((path) => path.split("/").every((segment) => SEGMENT.test(segment)), {
      error: "must be segments of letters, digits, '.', '-' and '_', separated by '/'",
    }),
});

function isBareEndpoint(text: string): boolean {
  const url = parseUrl(text);
  if (url === undefined) return false;
  const isBare = url.pathname === "/" && url.search === "" && url.hash === "" && url.username === "";
  return isBare && (url.protocol === "https:" || (url.protocol === "http:" && LOOPBACK.has(url.hostname)));
}

/** @throws BackupError INPUT_INVALID */
export function parseRelayAddress(address: unknown): RelayAddress {
  const parsed = Address.safeParse(address);
  if (parsed.success) return { ...parsed.data, endpoint: new URL(parsed.data.endpoint).origin };
  throw new BackupError(
    "INPUT_INVALID",
    `the relay address is not valid: ${z.prettifyError(parsed.error)}; correct the relay's endpoint or path`,
    { retry: "after-operator" },
  );
}

/** What a shared access signature is made for: `http://{host}/{path}`, whatever the endpoint's scheme. */
export function resourceUri(address: RelayAddress): string {
  return `http://${new URL(address.endpoint).host}/${address.path}`;
}

/** The address of the control channel. The token travels in a header, so this text may be logged. */
export function listenUrl(address: RelayAddress, id: string): string {
  const url = new URL(address.endpoint);
  const scheme = url.protocol === "https:" ? "wss" : "ws";
  return `${scheme}://${url.host}/$hc/${address.path}?sb-hc-action=listen&sb-hc-id=${encodeURIComponent(id)}`;
}

/**
 * The address for one request of a sender.
 *
 * @param target path and query behind the hybrid connection's path, starting with "/"
 * @throws BackupError INPUT_INVALID when the target would leave the hybrid connection's path
 */
export function sendUrl(address: RelayAddress, target: string): URL {
  const base = new URL(`${address.endpoint}/${address.path}`);
  const url = target.startsWith("/") ? parseUrl(`${base.href}${target}`) : undefined;
  if (url?.origin !== base.origin || !url.pathname.startsWith(`${base.pathname}/`) || url.hash !== "") {
    throw new BackupError("INPUT_INVALID", `the request path ${target} is not a path under ${base.href}`, {
      facts: { target },
    });
  }
  return url;
}

/**
 * Whether a rendezvous address that came over the wire may be dialled: the same host, or over TLS a host of the
 * same domain (the service answers with the address of one of its nodes). Anything else would let a stranger on
 * the channel direct the agent to a server of his choice.
 */
export function isRendezvousAllowed(address: RelayAddress, rendezvous: string): boolean {
  const endpoint = new URL(address.endpoint);
  const url = parseUrl(rendezvous);
  if (url === undefined || !url.pathname.startsWith("/$hc/") || url.username !== "") return false;
  if (endpoint.protocol === "http:") return url.protocol === "ws:" && url.host === endpoint.host;
  if (url.protocol !== "wss:") return false;
  if (url.hostname === endpoint.hostname) return true;
  const domain = endpoint.hostname.slice(endpoint.hostname.indexOf(".") + 1);
  return domain.includes(".") && !isIpAddress(endpoint.hostname) && url.hostname.endsWith(`.${domain}`);
}

/**
 * The part of a request target behind the hybrid connection's path, or undefined when the target is elsewhere. It
 * starts with exactly one slash, so nobody takes `//name` for a host.
 */
export function localTarget(address: RelayAddress, requestTarget: string): string | undefined {
  const url = parseUrl(`http://relay.invalid${requestTarget.startsWith("/") ? "" : "/"}${requestTarget}`);
  if (url?.host !== "relay.invalid") return undefined;
  const prefix = `/${address.path}`.toLowerCase();
  const path = url.pathname;
  if (path.toLowerCase() !== prefix && !path.toLowerCase().startsWith(`${prefix}/`)) return undefined;
  const rest = path.slice(prefix.length).replace(/^\/+/, "");
  return `/${rest}${withoutRelayParameters(url.search)}`;
}

/** A query string without its `sb-hc-` parameters; the others keep their order and spelling. */
export function withoutRelayParameters(search: string): string {
  const kept = search
    .replace(/^\?/, "")
    .split("&")
    .filter((item) => item !== "" && !/^sb-hc-/i.test(item));
  return kept.length === 0 ? "" : `?${kept.join("&")}`;
}

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}

function isIpAddress(hostname: string): boolean {
  return hostname.startsWith("[") || /^[\d.]+$/.test(hostname);
}
