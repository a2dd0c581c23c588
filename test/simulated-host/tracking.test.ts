import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { changesBetween, pruneEpochs, type Epoch } from "../../lib/simulated-host/tracking/epochs.ts";
import { ChangeTracker } from "../../lib/simulated-host/tracking/tracker.ts";
import { temporaryFolder } from "./lab.ts";

const epochs: readonly Epoch[] = [
  { from: "a", to: "b", runs: [[1, 1]] },
  { from: "b", to: "c", runs: null },
  { from: "c", to: "d", runs: [[5, 2]] },
  { from: "d", to: "e", runs: [[6, 4]] },
];

describe("changes between two RCT ids", () => {
  test("are the union of the epochs between them", () => {
    expect(changesBetween(epochs, "c", "e")).toEqual({ kind: "known", runs: [[5, 5]] });
    expect(changesBetween(epochs, "a", "b")).toEqual({ kind: "known", runs: [[1, 1]] });
  });

  test.each([
    ["an epoch between them was lost", "a", "d"],
    ["the host does not know the first", "x", "d"],
    ["the host does not know the second", "a", "x"],
    ["they are asked for in the wrong order", "d", "c"],
  ])("are lost, never empty, when %s", (_, since, until) => {
    expect(changesBetween(epochs, since, until).kind).toBe("lost");
  });
});

describe("pruning", () => {
  test("forgets what is older than the oldest needed id and joins what nobody asks for", () => {
    expect(pruneEpochs(epochs, new Set(["c"]))).toEqual([{ from: "c", to: "e", runs: [[5, 5]] }]);
    expect(pruneEpochs(epochs, new Set(["d"]))).toEqual([epochs[3]]);
    expect(pruneEpochs(epochs, new Set(["z"]))).toEqual([]);
  });

  test("keeps a loss that lies between needed ids", () => {
    expect(pruneEpochs(epochs, new Set(["a"]))).toEqual([{ from: "a", to: "e", runs: null }]);
  });
});

describe("a tracker", () => {
  test("knows what was written between two seals, also after a clean stop", async () => {
    const file = join(await temporaryFolder(), "tracking.json");
    const first = new ChangeTracker(file);
    first.mark(0, 1); // before the first reference point: nobody can ask for it
    first.seal("a");
    first.mark(100_000, 1);
    first.close();
    const second = new ChangeTracker(file);
    second.mark(0, 1);
    second.seal("b");
    expect(second.changes("a", "b")).toEqual({
      kind: "known",
      runs: [
        [0, 1],
        [6, 1],
      ],
    });
  });

  test("says lost after a power cut, and tracks again from the next seal on", async () => {
    const file = join(await temporaryFolder(), "tracking.json");
    const cut = new ChangeTracker(file);
    cut.seal("a");
    cut.mark(100_000, 1);
    const second = new ChangeTracker(file);
    second.seal("b");
    second.mark(0, 1);
    second.seal("c");
    expect(second.changes("a", "b").kind).toBe("lost");
    expect(second.changes("a", "c").kind).toBe("lost");
    expect(second.changes("b", "c")).toEqual({ kind: "known", runs: [[0, 1]] });
  });

  test("says lost when it was stopped cleanly once and then killed", async () => {
    const file = join(await temporaryFolder(), "tracking.json");
    const clean = new ChangeTracker(file);
    clean.seal("a");
    clean.close();
    const killed = new ChangeTracker(file);
    killed.mark(0, 1);
    const third = new ChangeTracker(file);
    third.seal("b");
    expect(third.changes("a", "b").kind).toBe("lost");
  });

  test("forgets everything when its file is lost", async () => {
    const tracker = new ChangeTracker(join(await temporaryFolder(), "tracking.json"));
    tracker.seal("a");
    tracker.seal("b");
    tracker.lose();
    tracker.seal("c");
    expect(tracker.changes("a", "b").kind).toBe("lost");
    expect(tracker.changes("b", "c").kind).toBe("lost");
  });
});
