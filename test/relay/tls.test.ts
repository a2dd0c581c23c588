import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { listen, PATH, until } from "./fixtures.ts";
import { startRawService } from "./raw-service.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

/** A certificate for 127.0.0.1 that is its own authority. */
function selfSigned(): { key: string; cert: string } {
  const folder = mkdtempSync(join(tmpdir(), "relay-tls-"));
  try {
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const subject = ["-subj", "/CN=relay.test", "-addext", "subjectAltName=IP:127.0.0.1"];
    const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    execFileSync("openssl", ["req", "-x509", ...kind, "-keyout", key, "-out", cert, ...subject], {
      stdio: "ignore",
    });
    return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test.skipIf(!hasOpenssl)(
  "over TLS the listener trusts a given authority, and a rendezvous is dialled by wss too",
  async () => {
    const tls = selfSigned();
    await using service = await startRawService({ tls });
    const body = new Uint8Array(100_000);
    await using listener = listen(service.endpoint, () => Promise.resolve({ status: 200, body }), {
      connect: { ca: tls.cert },
    });
    const control = await service.accept();
    await listener.ready;
    const request = { id: "1", requestTarget: `/${PATH}`, method: "GET", requestHeaders: {}, body: false };
    const address = `wss://${service.host}/$hc/${PATH}?sb-hc-action=request`;
    control.socket.send(JSON.stringify({ request: { ...request, address } }));
    const rendezvous = await service.accept();
    expect(await rendezvous.next()).toMatchObject({ response: { requestId: "1", statusCode: 200 } });
  },
);

test.skipIf(!hasOpenssl)(
  "over TLS a certificate that nobody vouches for is RELAY_UNREACHABLE, and no token is sent",
  async () => {
    await using service = await startRawService({ tls: selfSigned() });
    await using listener = listen(service.endpoint, () => Promise.resolve({ status: 200 }));
    await until(() => listener.lastError !== undefined);
    expect(listener.lastError).toMatchObject({
      code: "RELAY_UNREACHABLE",
      message: expect.stringMatching(/SELF_SIGNED_CERT/) as unknown,
    });
    expect(service.opened).toBe(0);
  },
);
