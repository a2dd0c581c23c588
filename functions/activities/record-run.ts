import type { recordRun } from "../../lib/contracts/index.ts";
import type { Ports } from "../ports/ports.ts";
import type { ActivityOf } from "./activity.ts";

/** Keeps the run record in the repository; writing it again replaces it. */
export function createRecordRun({ repository }: Pick<Ports, "repository">): ActivityOf<typeof recordRun> {
  return async (record) => {
    await (await repository()).writeRunRecord(record);
    return {};
  };
}
