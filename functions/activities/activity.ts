import * as df from "durable-functions";
import * as z from "zod";
import type { ActivityContract } from "../../lib/contracts/index.ts";
import { BackupError } from "../../lib/errors/index.ts";

/** What the activity does, with its input checked. Built from ports, so that tests run it without a cloud. */
export type Activity<In extends z.ZodType, Out extends z.ZodType> = (
  input: z.output<In>,
) => Promise<z.input<Out>>;

/**
 * Registers an activity under its contract. Input and output are checked; an error that no retry can cure is returned as a
 * value (see orchestrators/call.ts), all others are thrown so that Durable Functions tries again.
 */
export function registerActivity<In extends z.ZodType, Out extends z.ZodType>(
  contract: ActivityContract<In, Out>,
  run: Activity<In, Out>,
): void {
  df.app.activity(contract.name, {
    handler: async (raw: unknown) => {
      try {
        const value = await run(parseInput(contract, raw));
        return { ok: true, value: contract.output.parse(value) };
      } catch (error) {
        if (error instanceof BackupError && error.retry !== "later")
          return { ok: false, error: error.toJSON() };
        throw error;
      }
    },
  });
}

function parseInput<In extends z.ZodType>(
  contract: ActivityContract<In, z.ZodType>,
  raw: unknown,
): z.output<In> {
  const parsed = contract.input.safeParse(raw);
  if (parsed.success) return parsed.data;
  throw new BackupError("INPUT_INVALID", `activity ${contract.name}: ${z.prettifyError(parsed.error)}`);
}

/** The function that carries out the contract `C`. */
export type ActivityOf<C> = C extends ActivityContract<infer In, infer Out> ? Activity<In, Out> : never;
