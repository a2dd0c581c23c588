import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { jsonLinesLog, readAgentConfig, redact } from "../../lib/agent/index.ts";
import { temporaryFolder } from "./bench.ts";

test.each([
  ["https://a.blob.core.windows.net/c?sv=1&sig=abc%2Bdef%3D&sp=r", "abc"],
  ["?SIG=abc", "abc"],
  ["sb-hc-token=SharedAccessSignature%20sr%3Dabc", "abc"],
  ["SharedAccessSignature sr=x&sig=abc&se=1&skn=k", "abc"],
  ["DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abc==;EndpointSuffix=x", "abc"],
  ["authorization: Bearer abc.def.ghi", "abc"],
  ["gcbw1_abc-DEF", "abc"],
  ["gcbc1_abc-DEF", "abc"],
  ["token eyJhbGciOi.abc.sig", "abc"],
])("%j is shown without its secret", (text, secret) => {
  expect(redact(text)).not.toContain(secret);
});

test("text without a secret stays as it is", () => {
  const text = "VM sql-01: D:\\vm\\data.vhds was not merged (0x80070005), see https://example.org/?page=1";
  expect(redact(text)).toBe(text);
});

test("a log line is one JSON document, redacted, whatever it says", () => {
  const lines: string[] = [];
  const log = jsonLinesLog(
    (line) => lines.push(line),
    () => new Date(0),
  );
  log("error", 'two\nlines and "quotes"', { url: "http://x/?sig=abc", count: 3 });
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^\{.*\}\n$/);
  expect(JSON.parse(lines[0]!)).toEqual({
    ...{ at: "1970-01-01T00:00:00.000Z", level: "error", message: 'two\nlines and "quotes"' },
    ...{ url: "http://x/?sig=REDACTED", count: 3 },
  });
});

const config = {
  ...{ agentId: "host-01", dataDirectory: "/var/lib/gcb", repositoryWriterKeyFile: "/etc/gcb/writer.key" },
  relay: { endpoint: "https://x.servicebus.windows.net", path: "host-01", keyName: "listen", key: "s3cr3t" },
  controlPlanePublicKeys: [{ kty: "OKP", crv: "Ed25519", x: "abc" }],
  host: { kind: "hyper-v" },
};

async function read(document: unknown) {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "agent.json");
  await writeFile(file, typeof document === "string" ? document : JSON.stringify(document));
  return await readAgentConfig(file);
}

test("a configuration gets its defaults: 30 minutes of silence, two disks at once, no restore", async () => {
  expect(await read(config)).toMatchObject({
    ...{ runExpiryMs: 1_800_000, parallelDisks: 2, restore: { roots: [] } },
  });
});

test.each<[string, unknown, RegExp]>([
  ["that is no JSON", '{"key": "s3cr3t"', /not JSON/],
  ["with an unknown field", { ...config, dataDir: "/x" }, /dataDir/],
  ["with a relative path", { ...config, dataDirectory: "data" }, /absolute/],
  ["without a control plane's key", { ...config, controlPlanePublicKeys: [] }, /controlPlanePublicKeys/],
  [
    "with a private key",
    { ...config, controlPlanePublicKeys: [{ kty: "OKP", crv: "Ed25519", x: "abc", d: "s3cr3t" }] },
    /private key/,
  ],
  ["with an unknown host", { ...config, host: { kind: "vmware" } }, /host/],
])("a configuration %s is refused, without showing a secret", async (_name, document, pattern) => {
  const error: unknown = await read(document).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "AGENT_CONFIG_INVALID" });
  expect(String(error)).toMatch(pattern);
  expect(JSON.stringify(error) + String(error)).not.toContain("s3cr3t");
});

test("a configuration that is not there is refused", async () => {
  await expect(readAgentConfig("/nowhere/agent.json")).rejects.toMatchObject({
    code: "AGENT_CONFIG_INVALID",
  });
});
