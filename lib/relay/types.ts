/** One HTTP request that came through the relay. */
export interface RelayRequest {
  /** The relay's id of this request; for logs, not for idempotence. */
  readonly id: string;
  readonly method: string;
  /** Path and query behind the hybrid connection's own path; starts with "/", never holds `sb-hc-` parameters. */
  readonly target: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** Aborted when nobody can receive the answer any more: deadline passed, sender gone, listener closed. */
  readonly signal: AbortSignal;
}

export interface RelayResponse {
  /** 200–599 except 502 and 504, which the relay reserves. */
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** Where this room reports what it did. Facts never hold a token or a body. */
export type RelayLog = (
  level: "debug" | "info" | "warn" | "error",
  message: string,
  facts?: Readonly<Record<string, string | number | boolean>>,
) => void;
