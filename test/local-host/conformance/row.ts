import type { HostClient } from "../harness.ts";

/** One promise of the host, proved through the public client and over HTTP. */
export interface Row {
  readonly area: string;
  /** States the rule; docs/embedded-host.md lists it word for word. */
  readonly rule: string;
  /** Where the embedded host is deliberately stricter than Azure, or the row needs its keys. */
  readonly embeddedOnly?: string;
  run(client: HostClient, unique: string): Promise<void>;
}

/** The table of docs/embedded-host.md. */
export function renderTable(rows: readonly Row[]): string {
  const lines = rows.map(
    ({ area, rule, embeddedOnly }) => `| ${area} | ${rule} | ${embeddedOnly ?? "yes"} |`,
  );
  return ["| area | rule | on Azure too |", "| --- | --- | --- |", ...lines].join("\n");
}
