import { describe, test } from "vitest";
import { openDocumentedHost } from "./documented-host.ts";
import { CANNOT_FAKE } from "./fake-shell.ts";
import { describeHyperVHost } from "./hyperv-host-contract.ts";

if (CANNOT_FAKE) {
  describe("the HyperVHost port over PowerShell", () => {
    test.skip("needs a shebang line, which Windows does not know", () => undefined);
  });
} else {
  describeHyperVHost("PowerShell, over answers written from the documentation", () => openDocumentedHost());
}
