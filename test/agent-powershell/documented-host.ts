import { createPowerShellHost, type PowerShellHost } from "../../lib/agent/powershell/index.ts";
import type { PowerShellSettings } from "../../lib/agent/powershell/index.ts";
import { VmId } from "../../lib/contracts/index.ts";
import type * as z from "zod";
import documented from "./documented/two-node-cluster.json" with { type: "json" };
import { FAKE_POWERSHELL, fakeShell, type FakeShell, type Rule } from "./fake-shell.ts";
import type { HostUnderTest } from "./hyperv-host-contract.ts";

export interface DocumentedHost extends HostUnderTest {
  readonly host: PowerShellHost;
  readonly fake: FakeShell;
}

/**
 * The PowerShell host over a fake PowerShell that answers what the documentation says a two-node guest cluster answers.
 * Nothing of it was recorded on a real host.
 *
 * @param rules stand before the documented ones
 */
export async function openDocumentedHost(
  rules: Readonly<Record<string, readonly Rule[]>> = {},
  settings: z.input<typeof PowerShellSettings> = {},
): Promise<DocumentedHost> {
  const merged: Record<string, readonly Rule[]> = {
    ...(documented.rules as Record<string, readonly Rule[]>),
  };
  for (const [script, own] of Object.entries(rules)) merged[script] = [...own, ...(merged[script] ?? [])];
  const fake = await fakeShell(merged);
  const host = createPowerShellHost({ executable: FAKE_POWERSHELL, environment: fake.environment, settings });
  return {
    host,
    fake,
    members: documented.members.map((id) => VmId.parse(id)),
    sharedPath: documented.sharedPath,
    sharedBytes: 1_073_741_824,
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await fake[Symbol.asyncDispose]();
    },
  };
}
