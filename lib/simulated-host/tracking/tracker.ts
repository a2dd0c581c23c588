import { existsSync, readFileSync } from "node:fs";
import * as z from "zod";
import { writeJsonFile } from "../estate/json-file.ts";
import { changesBetween, pruneEpochs, type Changes, type Epoch } from "./epochs.ts";
import { GranuleSet } from "./granules.ts";

const Runs = z.array(z.tuple([z.int().nonnegative(), z.int().positive()]));
const TrackingFile = z.object({
  formatVersion: z.literal(1),
  epochs: z.array(z.object({ from: z.string(), to: z.string(), runs: Runs.nullable() })),
  /** What is written since the last id. `runs` is there only after a clean stop. */
  current: z.object({ from: z.string().nullable(), runs: Runs.nullable() }),
});

/**
 * Resilient change tracking of one disk. The fine map lives in memory, as on a real host: a clean stop saves it, a power cut loses
 * it, and then whatever spans the cut is answered with "lost".
 */
export class ChangeTracker {
  readonly #file: string;
  #epochs: Epoch[];
  #from: string | null;
  #isLost: boolean;
  readonly #written = new GranuleSet();

  constructor(file: string) {
    this.#file = file;
    const stored = existsSync(file)
      ? TrackingFile.parse(JSON.parse(readFileSync(file, "utf8")))
      : { epochs: [], current: { from: null, runs: null } };
    this.#epochs = stored.epochs;
    this.#from = stored.current.from;
    this.#isLost = this.#from !== null && stored.current.runs === null;
    this.#written.addRuns(stored.current.runs ?? []);
    // From here on a kill must find that the map is gone.
    if (stored.current.runs !== null) this.#save(false);
  }

  /** Called before every write of the guest. */
  mark(offsetBytes: number, lengthBytes: number): void {
    this.#written.mark(offsetBytes, lengthBytes);
  }

  /** Closes what was written so far under `rctId`; stable when it returns. */
  seal(rctId: string): void {
    if (this.#from !== null) {
      const runs = this.#isLost ? null : this.#written.runs();
      this.#epochs = [...this.#epochs, { from: this.#from, to: rctId, runs }];
    }
    this.#from = rctId;
    this.#isLost = false;
    this.#written.clear();
    this.#save(false);
  }

  changes(since: string, until: string): Changes {
    return changesBetween(this.#epochs, since, until);
  }

  /** @param needed RCT ids that a reference point or checkpoint still has */
  prune(needed: ReadonlySet<string>): void {
    this.#epochs = pruneEpochs(this.#epochs, needed);
    this.#save(false);
  }

  /** Forgets everything, as after VHDMP events 8 to 10. */
  lose(): void {
    this.#epochs = this.#epochs.map(({ from, to }) => ({ from, to, runs: null }));
    this.#isLost = this.#from !== null;
    this.#save(false);
  }

  /** The clean stop. No write may follow. */
  close(): void {
    this.#save(true);
  }

  #save(isClean: boolean): void {
    const runs = isClean && !this.#isLost ? this.#written.runs() : null;
    writeJsonFile(this.#file, {
      formatVersion: 1,
      epochs: this.#epochs,
      current: { from: this.#from, runs },
    });
  }
}
