import { describe, expect, test } from "vitest";
import { readSettings } from "../../functions/ports/settings.ts";

const cluster = { id: "sql", agentId: "host-1", members: ["00000000-0000-4000-8000-0000000000aa"] };
const good: Readonly<Record<string, string>> = {
  TASKHUB_NAME: "hub",
  GCB_REPOSITORY_URL: "https://account.blob.core.windows.net/backups",
  GCB_CONTROL_PLANE_KEY: "gcbc1_key",
  GCB_COMMAND_KEY: JSON.stringify({ kty: "OKP", crv: "Ed25519", d: "secret-part", x: "x" }),
  GCB_RELAY_ENDPOINT: "https://relay.servicebus.windows.net",
  GCB_GUEST_CLUSTERS: JSON.stringify([cluster]),
};

test("settings are read with their defaults", () => {
  const [read] = readSettings(good).GCB_GUEST_CLUSTERS;
  expect(read).toMatchObject({ consistency: "application", includePrivateDisks: true, timeZone: "UTC" });
});

describe("a wrong setting is refused by its name, without its value", () => {
  const clusters = (change: object) => ({ GCB_GUEST_CLUSTERS: JSON.stringify([{ ...cluster, ...change }]) });
  test.each([
    ["a missing one", { GCB_RELAY_ENDPOINT: undefined }, "GCB_RELAY_ENDPOINT"],
    ["a key that is not JSON", { GCB_COMMAND_KEY: "secret-part" }, "GCB_COMMAND_KEY"],
    ["a key of another kind", { GCB_COMMAND_KEY: '{"kty":"RSA","d":"secret-part"}' }, "GCB_COMMAND_KEY"],
    ["guest clusters that are no list", { GCB_GUEST_CLUSTERS: "{}" }, "GCB_GUEST_CLUSTERS"],
    ["two clusters of one id", { GCB_GUEST_CLUSTERS: JSON.stringify([cluster, cluster]) }, "same id"],
    ["a member named twice", clusters({ members: [...cluster.members, ...cluster.members] }), "named twice"],
    ["an id that is no id", clusters({ id: "../etc" }), "GCB_GUEST_CLUSTERS.0.id"],
    ["a field nobody knows", clusters({ shedule: "typo" }), "shedule"],
    ["a schedule of five fields", clusters({ schedule: "30 2 * * *" }), "six fields"],
  ])("%s", (_what, change, named) => {
    const read = () => readSettings({ ...good, ...change });
    expect(read).toThrow(named);
    expect(read).not.toThrow("secret-part");
  });
});
