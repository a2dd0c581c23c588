import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HostClient, temporaryHost } from "./harness.ts";
import { renderTable } from "./conformance/row.ts";
import { rows } from "./conformance/rows.ts";

/**
 * Every row against the embedded host, or unchanged against another host that runs test/local-host/apps/basics:
 * CONFORMANCE_HOST_URL, with CONFORMANCE_HOST_KEY and CONFORMANCE_SYSTEM_KEY where it asks for keys.
 */
const remoteUrl = process.env["CONFORMANCE_HOST_URL"];

describe(remoteUrl === undefined ? "the embedded host" : `the host at ${remoteUrl}`, () => {
  let client: HostClient;
  let end: () => Promise<void> = () => Promise.resolve();
  beforeAll(async () => {
    if (remoteUrl !== undefined) {
      client = new HostClient(
        remoteUrl,
        process.env["CONFORMANCE_HOST_KEY"],
        process.env["CONFORMANCE_SYSTEM_KEY"],
      );
      return;
    }
    const running = await temporaryHost("basics");
    client = running.client;
    end = async () => {
      await running[Symbol.asyncDispose]();
    };
  });
  afterAll(() => end());

  for (const row of rows) {
    const isSkipped = remoteUrl !== undefined && row.embeddedOnly !== undefined;
    test.skipIf(isSkipped)(`${row.area}: ${row.rule}`, () =>
      row.run(client, `t${randomUUID().replaceAll("-", "")}`),
    );
  }
});

test("docs/embedded-host.md lists every row; node tools/write-conformance-table.ts writes it anew", async () => {
  const page = await readFile(new URL("../../docs/embedded-host.md", import.meta.url), "utf8");
  expect(page).toContain(renderTable(rows));
});
