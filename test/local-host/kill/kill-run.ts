import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { appDirectory, HostClient, temporaryDirectory } from "../harness.ts";

export interface KillRunOptions {
  /** How often the host is killed. */
  readonly kills: number;
  /** Instances that are under way at any time. */
  readonly instances: number;
  /** Activities and sub-orchestrations per instance. */
  readonly width: number;
  /** Longest life of a host, in milliseconds; the shortest is that of one which has just begun to answer. */
  readonly lifeMs: number;
  readonly random: () => number;
  readonly onKill?: (count: number) => void;
}

export interface KillRunResult {
  readonly kills: number;
  readonly finished: number;
  readonly activityRuns: number;
  /** Activities that ran more than once, because the process died between effect and commit. */
  readonly repeated: number;
  /** What went wrong; empty when all is well. */
  readonly faults: readonly string[];
}

interface Running {
  readonly child: ChildProcess;
  readonly client: HostClient;
}

/**
 * Kills the host with SIGKILL again and again at random moments of a mixed workload, and looks after every kill whether
 * a result that was in the database before is still there, and whether any activity ran whose result was there before.
 */
export async function killRun(options: KillRunOptions): Promise<KillRunResult> {
  await using data = await temporaryDirectory();
  const log = path.join(data.path, "activities.log");
  const faults: string[] = [];
  const expected = new Map<string, string>();
  const finished = new Set<string>();
  /** Results seen on the disk, and how many lines the log had then. */
  const committed = new Map<string, { readonly result: string; readonly line: number }>();
  let launched = 0;
  let kills = 0;
  for (;;) {
    const host = await launch(data.path, log);
    try {
      const isLastLife = kills >= options.kills;
      while (!isLastLife && expected.size - finished.size < options.instances) {
        const id = `run-${launched++}`;
        expected.set(id, await begin(host.client, id, options.width));
      }
      if (isLastLife) {
        for (const id of expected.keys()) await host.client.until(id);
      } else {
        await sleep(options.random() * options.lifeMs);
      }
    } finally {
      host.child.kill("SIGKILL");
      await once(host.child, "exit");
    }
    const lines = (await readFile(log, "utf8").catch(() => "")).split("\n").slice(0, -1);
    {
      using db = new DatabaseSync(path.join(data.path, "host.sqlite"));
      noteFinished(db, expected, finished, faults, kills >= options.kills);
      checkCommitted(db, committed, lines, faults);
    }
    if (kills >= options.kills) {
      const runs = new Map<string, number>();
      for (const line of lines) runs.set(line, (runs.get(line) ?? 0) + 1);
      const repeated = [...runs].filter(([line, count]) => count > 1 && !line.includes(" f")).length;
      return { kills, finished: finished.size, activityRuns: lines.length, repeated, faults };
    }
    kills++;
    options.onKill?.(kills);
  }
}

async function launch(dataDirectory: string, log: string): Promise<Running> {
  const child = spawn(
    process.execPath,
    [path.join(import.meta.dirname, "host-process.ts"), appDirectory("mixed"), dataDirectory],
    {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, ACTIVITY_LOG: log, NODE_OPTIONS: "" },
    },
  );
  for await (const line of createInterface({ input: child.stdout })) {
    const { url, systemKey } = JSON.parse(line) as { url: string; systemKey: string };
    return { child, client: new HostClient(url, undefined, systemKey) };
  }
  throw new Error("the host ended before it gave its URL");
}

async function begin(client: HostClient, id: string, width: number): Promise<string> {
  const input = { width, tag: id };
  const response = await client.manage(`orchestrators/mixed/${id}`, {
    method: "POST",
    body: JSON.stringify(input),
  });
  if (response.status !== 202) throw new Error(`start of ${id} answered ${response.status}`);
  const sum = (width * (width - 1)) / 2;
  return JSON.stringify({ sum: 2 * sum + 10, stored: sum, last: 1 });
}

/** Reads from the dead host's disk how its instances stand: asking the living one would let it come to rest first. */
function noteFinished(
  db: DatabaseSync,
  expected: ReadonlyMap<string, string>,
  finished: Set<string>,
  faults: string[],
  mustBeDone: boolean,
): void {
  const select = db.prepare("SELECT status, output FROM instances WHERE id = ?");
  for (const [id, result] of expected) {
    const { status, output } = (select.get(id) ?? {}) as { status?: string; output?: string | null };
    if (status === "Completed") {
      finished.add(id);
      if (output !== result) faults.push(`${id} gave ${output ?? "nothing"} instead of ${result}`);
    } else if (mustBeDone || status === undefined || status === "Failed") {
      faults.push(`${id} is ${status ?? "gone"}: ${output ?? ""}`);
    }
  }
}

/** Compares what the dead host left on the disk with what earlier ones left. */
function checkCommitted(
  db: DatabaseSync,
  committed: Map<string, { readonly result: string; readonly line: number }>,
  lines: readonly string[],
  faults: string[],
): void {
  const results = readResults(db);
  const alive = new Set(
    (db.prepare("SELECT id, execution FROM instances").all() as { id: string; execution: string }[]).map(
      ({ id, execution }) => `${id}/${execution}`,
    ),
  );
  const lastRun = new Map<string, number>();
  lines.forEach((line, index) => lastRun.set(line, index));
  for (const [key, { result, line }] of committed) {
    const [instance = "", execution = "", , name = ""] = key.split("/");
    if (!alive.has(`${instance}/${execution}`)) continue; // Continued as new: the former history is gone by design.
    if (results.get(key) !== result)
      faults.push(`the result of ${key} was ${result} and is now ${results.get(key) ?? "gone"}`);
    if ((lastRun.get(`${instance} ${name}`) ?? -1) >= line)
      faults.push(`${key} ran again after its result was committed`);
  }
  for (const [key, result] of results) {
    if (!committed.has(key)) committed.set(key, { result, line: lines.length });
  }
}

/** Completed activities by `instance/execution/task/key`: from the histories, and from completions that wait in inboxes. */
function readResults(db: DatabaseSync): Map<string, string> {
  const executions = new Map(
    (db.prepare("SELECT id, execution FROM instances").all() as { id: string; execution: string }[]).map(
      ({ id, execution }) => [id, execution],
    ),
  );
  const names = new Map<string, string>();
  const results = new Map<string, string>();
  const rows = db
    .prepare(
      "SELECT instance, event FROM (SELECT instance, event, 0 AS box, seq FROM history UNION ALL SELECT instance, event, 1, seq FROM inbox WHERE execution IS NOT NULL) ORDER BY instance, box, seq",
    )
    .all() as { instance: string; event: string }[];
  for (const { instance, event: text } of rows) {
    const event = JSON.parse(text) as {
      EventType: number;
      EventId: number;
      Input?: string;
      TaskScheduledId?: number;
      Result?: string;
    };
    const prefix = `${instance}/${executions.get(instance) ?? ""}`;
    if (event.EventType === 4) {
      const [input] = JSON.parse(event.Input ?? "[]") as [{ key?: string } | undefined];
      names.set(`${prefix}/${event.EventId}`, input?.key ?? "");
    }
    if (event.EventType === 5) {
      const task = `${prefix}/${event.TaskScheduledId ?? -1}`;
      results.set(`${task}/${names.get(task) ?? ""}`, event.Result ?? "");
    }
  }
  return results;
}
