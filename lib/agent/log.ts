/** Where the agent reports what it did. Facts never hold a token, a key or a body. */
export type AgentLog = (
  level: "debug" | "info" | "warn" | "error",
  message: string,
  facts?: Readonly<Record<string, string | number | boolean>>,
) => void;

/** A log of one JSON document a line: `{"at":…,"level":…,"message":…,…facts}`. Everything is redacted before it is written. */
export function jsonLinesLog(write: (line: string) => void, clock: () => Date = () => new Date()): AgentLog {
  return (level, message, facts = {}) => {
    const line = JSON.stringify({ ...facts, at: clock().toISOString(), level, message });
    write(`${redact(line)}\n`);
  };
}

const SECRETS: readonly (readonly [RegExp, string])[] = [
  // signature of a storage SAS or of a Relay SAS, plain or percent-encoded once more
  [/\b(sig|sb-hc-token)(=|%3D)[^&\s"'\\]+/gi, "$1$2REDACTED"],
  [/\b(AccountKey|SharedAccessKey|SharedAccessSignature)=[^;\s"'\\]+/gi, "$1=REDACTED"],
  [/\bSharedAccessSignature\s+[^\s"'\\]+/gi, "SharedAccessSignature REDACTED"],
  [/\bBearer\s+[^\s"'\\]+/gi, "Bearer REDACTED"],
  // exported repository keys, and compact JWTs
  [/\bgcb[a-z]\d_[A-Za-z0-9_-]+/g, "REDACTED"],
  [/\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/g, "REDACTED"],
];

/** The text without what could open a door: SAS signatures, account keys, bearer tokens, exported keys. */
export function redact(text: string): string {
  return SECRETS.reduce((rest, [pattern, instead]) => rest.replaceAll(pattern, instead), text);
}
