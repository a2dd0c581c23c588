import * as z from "zod";

/** How the changed bytes of one disk were found. */
export const ChangeSource = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("full"), reason: z.enum(["first-backup", "requested"]) }),
  /** RCT: everything that changed since the reference point `since`. */
  z.object({ kind: z.literal("rct"), since: z.string() }),
  /** Tracking is lost or doubtful: everything is read, only what differs from the last manifest is stored. */
  z.object({
    kind: z.literal("compare"),
    reason: z.enum(["reference-point-lost", "tracking-disabled", "disk-resized", "requested"]),
  }),
]);
export type ChangeSource = z.infer<typeof ChangeSource>;
