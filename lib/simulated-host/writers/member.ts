import type { Consistency } from "../../contracts/index.ts";
import { Gate } from "../disks/gate.ts";

/** A disk as a guest uses it. */
export interface GuestDisk {
  readonly sizeBytes: number;
  read(offsetBytes: number, target: Uint8Array): Promise<void>;
  write(offsetBytes: number, data: Uint8Array): Promise<void>;
  flush(): Promise<void>;
}

/** The guest of one member, as far as a backup touches it: it works, and it can be made to stand still. */
export class Member {
  readonly number: number;
  readonly shared: GuestDisk;
  readonly private: GuestDisk;
  readonly #transactions = new Gate();
  readonly #inputOutput = new Gate();
  #frozen: Consistency | undefined;

  constructor(number: number, disks: { readonly shared: GuestDisk; readonly private: GuestDisk }) {
    this.number = number;
    this.shared = disks.shared;
    this.private = disks.private;
  }

  get isFrozen(): boolean {
    return this.#frozen !== undefined;
  }

  /**
   * Resolves when the member writes no more. "application": it has finished its transaction and flushed, as VSS writers do;
   * "crash": it stands between two writes.
   */
  async freeze(kind: Consistency): Promise<void> {
    if (this.#frozen !== undefined) return;
    this.#frozen = kind;
    await this.#gateOf(kind).close();
    if (kind === "crash" || !this.isFrozen) return;
    await this.shared.flush();
    await this.private.flush();
  }

  /** Lets the member go on; frozen or not. */
  thaw(): void {
    if (this.#frozen === undefined) return;
    this.#gateOf(this.#frozen).open();
    this.#frozen = undefined;
  }

  /** Runs a whole transaction; waits while the member is frozen. */
  transaction(work: () => Promise<void>): Promise<void> {
    return this.#transactions.pass(work);
  }

  /** Runs one write or flush; waits while the member is frozen between two of them. */
  io(work: () => Promise<void>): Promise<void> {
    return this.#inputOutput.pass(work);
  }

  #gateOf(kind: Consistency): Gate {
    return kind === "application" ? this.#transactions : this.#inputOutput;
  }
}
