import * as z from "zod";
import {
  ByteCount,
  ChangeSource,
  ConsistencyPoint,
  DiskId,
  OPERATIONS,
  ReferencePoint,
  VmId,
  type RunId,
} from "../../contracts/index.ts";
import { BackupError } from "../../errors/index.ts";
import type { Journal } from "./journal.ts";

/** One disk of the run: where it is, and which of its files the restore point is made of. */
export const RunDisk = z.object({
  diskId: DiskId,
  shared: z.boolean(),
  /** The file as it was attached: the `.vhds` of a VHD Set, or a private disk. */
  path: z.string(),
  staticPath: z.string(),
  virtualSizeBytes: ByteCount,
});
export type RunDisk = z.infer<typeof RunDisk>;

/**
 * What is known of a run, by name. Facts called `…Begun` and `…Creation` are written before an effect on the host, the others after
 * it: whatever the crash, an effect that may exist has at least its first fact. The effect itself is found by the run's tag.
 */
const FACTS = {
  /** From here on the run may have changed something on the host. */
  membersTouched: z.object({ members: z.array(VmId) }),
  /** Until when a checkpoint that was asked for may still appear on the host; null once the host has answered. */
  checkpointCreation: z.object({ mayAppearUntil: z.iso.datetime().nullable() }),
  checkpoint: z.object({ snapshotCollectionId: z.string() }),
  storageSnapshotCreation: z.object({ mayAppearUntil: z.iso.datetime().nullable() }),
  storageSnapshot: z.object({
    storageSnapshotId: z.string(),
    volumes: z.array(z.object({ directory: z.string(), exposedAs: z.string() })),
  }),
  point: z.object({ point: ConsistencyPoint, disks: z.array(RunDisk) }),
  referencesBegun: z.object({}),
  references: z.object({
    referencePointCollectionId: z.string(),
    disks: OPERATIONS["update-references"].result.shape.disks,
  }),
  /** By disk: how its changes are found, and the digest of the file that lists them (change-list.ts). */
  changes: z.object({
    source: ChangeSource,
    changedBytes: ByteCount,
    ranges: z.int().nonnegative(),
    listDigest: z.string().nullable(),
  }),
  /** By disk: it is completely in the repository. */
  shipped: OPERATIONS.ship.result.shape.disks.element.omit({ diskId: true }),
  /** Everything is in the repository: the control plane may have committed the restore point. */
  allShipped: z.object({}),
  /**
   * The control plane fell silent after everything was shipped: whether it committed the restore point is not known, so the
   * reference points stay. Should it not have, the clean-up of a later run removes them.
   */
  heldForCommit: z.object({}),
  /** The dead man's switch ended the run. */
  expired: z.object({}),
  /** The control plane asked for the clean-up: the restore point exists, and its reference points are needed. */
  committed: z.object({ keep: z.array(ReferencePoint) }),
  /** The folder into which this run restores. */
  restoreBegun: z.object({ targetDirectory: z.string(), fileNames: z.array(z.string()) }),
} as const;
type Facts = typeof FACTS;
export type FactName = keyof Facts;
type FactValue<N extends FactName> = z.output<Facts[N]>;

/** The facts of one run, each written to the journal before `note` returns. */
export class RunFacts {
  readonly #journal: Journal;
  readonly runId: RunId;

  constructor(journal: Journal, runId: RunId) {
    this.#journal = journal;
    this.runId = runId;
  }

  note<N extends FactName>(name: N, value: z.input<Facts[N]>, key = ""): void {
    this.#journal.noteFact(this.runId, name, key, value);
  }

  get<N extends FactName>(name: N, key = ""): FactValue<N> | undefined {
    const value = this.#journal.fact(this.runId, name, key);
    // The schema of this name gives exactly FactValue<N>; the compiler cannot follow the index through the union.
    return value === undefined ? undefined : (FACTS[name].parse(value) as FactValue<N>);
  }

  has(name: FactName): boolean {
    return this.get(name) !== undefined;
  }

  /** @throws BackupError AGENT_STEP_MISSING when the step that notes this fact has not run */
  need<N extends FactName>(name: N, step: string, key = ""): FactValue<N> {
    const value = this.get(name, key);
    if (value !== undefined) return value;
    throw new BackupError(
      "AGENT_STEP_MISSING",
      `run ${this.runId} has no ${name}${key === "" ? "" : ` of ${key}`}: its step ${step} has not succeeded; start a new run`,
      { facts: { runId: this.runId, step } },
    );
  }
}
