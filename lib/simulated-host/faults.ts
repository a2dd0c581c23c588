import * as z from "zod";
import { VmId } from "../contracts/index.ts";

const Vm = { vmId: VmId };
/** Ends by itself after so many uses; without it the fault stays until it is cleared. */
const Times = { times: z.int().positive().optional() };
const Milliseconds = z.number().nonnegative().max(3_600_000);

/** What can go wrong on call. `docs/simulated-host.md` lists what each one stands for. */
export const Fault = z.discriminatedUnion("kind", [
  // freeze, checkpoint, storage snapshot, merge
  z.strictObject({ kind: z.literal("freeze-hangs"), ...Vm, ...Times }),
  z.strictObject({ kind: z.literal("freeze-slow"), ...Vm, ms: Milliseconds, ...Times }),
  /** The VSS writers of the guest fail: it can only be checkpointed crash-consistently. */
  z.strictObject({ kind: z.literal("vss-failed"), ...Vm, ...Times }),
  z.strictObject({ kind: z.literal("storage-snapshot-fails"), ...Times }),
  z.strictObject({ kind: z.literal("convert-fails"), ...Times }),
  /** The conversion is done, but the files are not merged. */
  z.strictObject({ kind: z.literal("merge-fails"), ...Times }),
  // any call
  z.strictObject({ kind: z.literal("call-fails"), method: z.string(), ...Times }),
  z.strictObject({ kind: z.literal("call-slow"), method: z.string(), ms: Milliseconds, ...Times }),
  /** The host loses power: its process ends at once. */
  z.strictObject({
    kind: z.literal("power-cut"),
    method: z.string(),
    when: z.enum(["before", "after"]),
    ...Times,
  }),
  // change tracking
  z.strictObject({ kind: z.literal("tracking-lost"), diskId: z.string().optional(), ...Times }),
  z.strictObject({ kind: z.literal("tracking-disabled"), diskId: z.string().optional(), ...Times }),
  // what a preflight must find
  z.strictObject({ kind: z.literal("member-off"), ...Vm }),
  z.strictObject({ kind: z.literal("member-missing"), ...Vm }),
  z.strictObject({ kind: z.literal("configuration-version"), ...Vm, version: z.string() }),
  z.strictObject({
    kind: z.literal("vss-status"),
    ...Vm,
    status: z.enum(["degraded", "incompatible", "no-contact", "lost-communication"]),
  }),
  z.strictObject({
    kind: z.literal("user-checkpoint"),
    ...Vm,
    name: z.string().default("before the update"),
  }),
  /** A recovery checkpoint of another product. */
  z.strictObject({ kind: z.literal("foreign-recovery-checkpoint"), ...Vm }),
  z.strictObject({ kind: z.literal("no-guest-cluster"), ...Vm }),
  z.strictObject({ kind: z.literal("other-guest-cluster"), ...Vm }),
  z.strictObject({ kind: z.literal("guest-cluster-size"), size: z.int().nonnegative() }),
  z.strictObject({
    kind: z.literal("shared-disk"),
    state: z.enum(["not-clustered", "offline", "not-owned", "two-owners", "active-active"]),
  }),
  z.strictObject({ kind: z.literal("config-store-unset") }),
  z.strictObject({ kind: z.literal("folder-rights-missing"), ...Vm }),
  z.strictObject({ kind: z.literal("free-space"), freeBytes: z.int().nonnegative() }),
]);
export type Fault = z.infer<typeof Fault>;
type FaultOf<K extends Fault["kind"]> = Extract<Fault, { readonly kind: K }>;

/** The faults that are switched on. They are not kept over a restart. */
export class Faults {
  #faults: Fault[] = [];

  get all(): readonly Fault[] {
    return this.#faults;
  }

  set(faults: readonly Fault[]): void {
    this.#faults = [...faults];
  }

  add(fault: Fault): void {
    this.#faults.push(fault);
  }

  /** The first fault of a kind that matches; looking does not use it up. */
  find<K extends Fault["kind"]>(
    kind: K,
    matches: (fault: FaultOf<K>) => boolean = () => true,
  ): FaultOf<K> | undefined {
    return this.#faults.find(
      (fault): fault is FaultOf<K> => fault.kind === kind && matches(fault as FaultOf<K>),
    );
  }

  /** Like `find`, and counts as one use. */
  take<K extends Fault["kind"]>(kind: K, matches?: (fault: FaultOf<K>) => boolean): FaultOf<K> | undefined {
    const fault: Fault | undefined = this.find(kind, matches);
    if (fault !== undefined && "times" in fault && fault.times !== undefined) {
      const left = { ...fault, times: fault.times - 1 };
      this.#faults = this.#faults.flatMap((each) => (each !== fault ? [each] : left.times > 0 ? [left] : []));
    }
    return fault as FaultOf<K> | undefined;
  }
}
