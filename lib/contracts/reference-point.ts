import * as z from "zod";

/**
 * The RCT marker that "changes since" is asked against.
 * Shared disks: `id` is the snapshot GUID of the VHD Set entry. Private disks: `id` is the reference point's InstanceID.
 */
export const ReferencePoint = z.object({ id: z.string().min(1), rctId: z.string().min(1) });
export type ReferencePoint = z.infer<typeof ReferencePoint>;
