import { existsSync, readFileSync } from "node:fs";
import * as z from "zod";
import { Consistency, DiskId, VmId } from "../../contracts/index.ts";
import { writeJsonFile } from "../estate/json-file.ts";
import type { Estate } from "../estate/layout.ts";

/** In the file an ISO string, which is what JSON makes of a Date. */
const Instant = z.iso.datetime().transform((text) => new Date(text));

const CheckpointState = z.object({
  id: z.string(),
  tag: z.string(),
  collectionId: z.string(),
  members: z.array(
    z.object({
      vmId: VmId,
      checkpointId: z.string(),
      consistency: Consistency,
      frozenAt: Instant,
      thawedAt: Instant,
      frozenMs: z.number(),
    }),
  ),
  disks: z.array(
    z.object({
      diskId: DiskId,
      /** File that is static since the checkpoint. */
      staticFile: z.string(),
      /** Id of the entry in the VHD Set; of private disks the future reference point's id. */
      pointId: z.string(),
      rctId: z.string(),
    }),
  ),
});

const State = z.object({
  formatVersion: z.literal(1),
  /** The file each disk is written to now; what lies below it follows from the files' own parent locators. */
  activeFiles: z.record(DiskId, z.string()),
  collections: z.array(z.object({ id: z.string(), name: z.string(), members: z.array(VmId) })),
  checkpoints: z.array(CheckpointState),
  referencePoints: z.array(
    z.object({
      id: z.string(),
      tag: z.string(),
      createdAt: Instant,
      /** The checkpoint it was made of, so that asking twice finds the same one. */
      checkpointId: z.string(),
      members: z.array(VmId),
      disks: z.array(z.object({ diskId: DiskId, id: z.string(), rctId: z.string() })),
    }),
  ),
  setEntries: z.record(
    DiskId,
    z.array(
      z.object({
        snapshotId: z.string(),
        file: z.string().nullable(),
        rctId: z.string(),
        createdAt: Instant,
      }),
    ),
  ),
  storageSnapshots: z.array(
    z.object({ id: z.string(), tag: z.string(), volumes: z.array(z.string()), createdAt: Instant }),
  ),
  /** Files that something under way makes or is about to delete: after a kill those go that no chain needs. */
  disposableFiles: z.array(z.object({ volume: z.string(), file: z.string() })),
  /** Since the estate was created. */
  counters: z.object({ checkpoints: z.int(), storageSnapshots: z.int(), merges: z.int() }),
});
export type HostState = z.infer<typeof State>;
export type CheckpointState = z.infer<typeof CheckpointState>;
export type ReferencePointState = HostState["referencePoints"][number];

/** The host's memory of what it did. Every change is on disk when `update` returns. */
export class StateStore {
  readonly #file: string;
  #state: HostState;

  constructor(file: string, estate: Estate) {
    this.#file = file;
    this.#state = existsSync(file)
      ? State.parse(JSON.parse(readFileSync(file, "utf8")))
      : {
          formatVersion: 1,
          activeFiles: Object.fromEntries(estate.disks.map(({ diskId, baseFile }) => [diskId, baseFile])),
          collections: [],
          checkpoints: [],
          referencePoints: [],
          setEntries: {},
          storageSnapshots: [],
          disposableFiles: [],
          counters: { checkpoints: 0, storageSnapshots: 0, merges: 0 },
        };
  }

  get current(): Readonly<HostState> {
    return this.#state;
  }

  update(change: (state: HostState) => Partial<HostState>): void {
    const next = { ...this.#state, ...change(this.#state) };
    writeJsonFile(this.#file, next);
    this.#state = next;
  }
}
