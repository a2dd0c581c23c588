import { glob, readFile, realpath } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import * as z from "zod";
import { BackupError } from "../../errors/index.ts";
import type { FunctionRegistry } from "../core/function-registry.ts";
import { collectRegistrations } from "../core/functions-core.ts";
import type { LogSink } from "../log.ts";
import { isMissingFile, parseJsonFile } from "./settings.ts";

const PackageJson = z.object({ main: z.string().min(1).optional(), type: z.string().optional() });

/** Node keeps modules for the life of the process, so an app that was loaded once is not registered again. */
const loaded = new Map<string, Promise<FunctionRegistry>>();

/**
 * Loads the files that package.json `main` names (a glob is allowed) and gives what they registered.
 *
 * The same directory loaded again in one process gives the same registry.
 *
 * @throws BackupError HOST_APP_INVALID when there is no such file, or one of them fails to load
 */
export async function loadApp(appDirectory: string, sink: LogSink): Promise<FunctionRegistry> {
  const directory = await realpath(appDirectory).catch((error: unknown) => {
    throw new BackupError(
      "HOST_APP_INVALID",
      `The app folder ${appDirectory} can't be read; give the folder of package.json.`,
      {
        cause: error,
      },
    );
  });
  let registry = loaded.get(directory);
  if (registry === undefined) {
    registry = loadFresh(directory, sink);
    loaded.set(directory, registry);
    registry.catch(() => loaded.delete(directory));
  }
  return registry;
}

async function loadFresh(directory: string, sink: LogSink): Promise<FunctionRegistry> {
  const files = await entryPoints(directory);
  const require = createRequire(path.join(directory, "package.json"));
  const registry = await collectRegistrations(async () => {
    for (const file of files) {
      try {
        // A CommonJS file is required, as the worker does; require also answers for ESM without top-level await.
        if (await isModule(file)) await import(pathToFileURL(file).href);
        else require(file);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        throw new BackupError(
          "HOST_APP_INVALID",
          `The app's entry point ${path.relative(directory, file)} failed to load: ${reason}. Correct it and start again.`,
          { facts: { file }, cause: error },
        );
      }
    }
  }, sink);
  if (registry.functions.size === 0) {
    throw new BackupError(
      "HOST_APP_INVALID",
      `No function was registered by ${files.length} file(s) of ${directory}; package.json "main" must name the files that call app.http, df.app.orchestration and so on.`,
    );
  }
  if (registry.wantsHttpStreams) {
    throw new BackupError(
      "HOST_APP_INVALID",
      "The app switches HTTP streaming on (app.setup enableHttpStream), which this host does not have; leave it off here.",
    );
  }
  await registry.model?.getCapabilities({});
  return registry;
}

async function entryPoints(directory: string): Promise<string[]> {
  const file = path.join(directory, "package.json");
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (!isMissingFile(error)) throw error;
    throw new BackupError("HOST_APP_INVALID", `${file} is missing; a Functions app needs one with "main".`);
  });
  const main = parseJsonFile(file, text, PackageJson).main ?? "index.js";
  const found: string[] = [];
  for await (const entry of glob(main, { cwd: directory })) found.push(path.join(directory, entry));
  if (found.length === 0) {
    throw new BackupError(
      "HOST_APP_INVALID",
      `No file matches "main": "${main}" of ${file}; build the app first, or correct "main".`,
      { retry: "after-operator" },
    );
  }
  return found.sort();
}

async function isModule(file: string): Promise<boolean> {
  const extension = path.extname(file);
  if (extension === ".mjs" || extension === ".mts") return true;
  if (extension === ".cjs" || extension === ".cts") return false;
  for (let directory = path.dirname(file); ; directory = path.dirname(directory)) {
    const text = await readFile(path.join(directory, "package.json"), "utf8").catch(() => undefined);
    if (text !== undefined) return (JSON.parse(text) as { type?: unknown }).type === "module";
    if (directory === path.dirname(directory)) return false;
  }
}
