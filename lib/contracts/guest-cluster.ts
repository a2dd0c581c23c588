import * as z from "zod";
import { ConsistencyPolicy } from "./consistency.ts";
import { AgentId, GuestClusterId, VmId } from "./ids.ts";

/** One guest cluster as the administrator describes it: who belongs to it, who reaches it, what is promised. */
export const GuestCluster = z.strictObject({
  id: GuestClusterId,
  displayName: z.string().min(1).max(200).optional(),
  /** The agent on a host that reaches all members. */
  agentId: AgentId,
  members: z
    .array(VmId)
    .min(1)
    .max(64)
    .refine((ids) => new Set(ids).size === ids.length, "a member is named twice"),
  consistency: ConsistencyPolicy.default("application"),
  includePrivateDisks: z.boolean().default(true),
  /** The host lets the members run on after this time at the latest. VSS itself ends a freeze after 60 s. */
  frozenDeadlineMs: z.int().min(1_000).max(60_000).default(60_000),
  /** NCRONTAB with six fields ({second} {minute} {hour} {day} {month} {day of week}); without it only by request. */
  schedule: z.string().optional(),
  /** IANA name of the time zone that `schedule` is meant in. */
  timeZone: z.string().default("UTC"),
});
export type GuestCluster = z.infer<typeof GuestCluster>;
