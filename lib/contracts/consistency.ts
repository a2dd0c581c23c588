import * as z from "zod";

/** What a restore point promises. application: VSS writers in every member flushed. crash: as after a power cut. */
export const Consistency = z.enum(["application", "crash"]);
export type Consistency = z.infer<typeof Consistency>;

/** What the policy demands. A fall-back to crash-consistent never happens unless the policy says so. */
export const ConsistencyPolicy = z.enum(["application", "application-or-crash"]);
export type ConsistencyPolicy = z.infer<typeof ConsistencyPolicy>;
