import * as z from "zod";
import { isBackupErrorCode, type ErrorDocument } from "../errors/index.ts";

/** An error as it travels on the wire. A code that this version does not know (a newer peer) becomes INTERNAL. */
export const ErrorDocumentSchema: z.ZodType<ErrorDocument> = z.object({
  code: z.string().transform((code) => (isBackupErrorCode(code) ? code : "INTERNAL")),
  message: z.string(),
  retry: z.enum(["never", "later", "after-operator"]),
  facts: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
});
