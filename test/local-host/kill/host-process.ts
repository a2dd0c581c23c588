/**
 * A host in a process of its own, to be killed: `node host-process.ts APP DATA`. Prints its URL and key as one JSON line.
 */
import { startHost } from "../../../lib/local-host/index.ts";

const [appDirectory = "", dataDirectory = "", maxDeliveries = "1000"] = process.argv.slice(2);
const host = await startHost({ appDirectory, dataDirectory, maxDeliveries: Number(maxDeliveries) });
process.stdout.write(
  `${JSON.stringify({ url: host.url, systemKey: host.keys?.system.durabletask_extension })}\n`,
);
