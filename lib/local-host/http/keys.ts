import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import * as z from "zod";
import { isMissingFile, parseJsonFile } from "../app/settings.ts";

const Key = z.string().min(16);
const Keys = z.object({
  master: Key,
  /** Good for every function of level "function". */
  host: z.record(z.string(), Key),
  /** Good for one function, by its name in lower case. */
  functions: z.record(z.string(), z.record(z.string(), Key)),
  /** The management API. */
  system: z.object({ durabletask_extension: Key }),
});
export type Keys = z.infer<typeof Keys>;

/** Reads the folder's keys, or makes them: 256 bits each, readable by their owner only. */
export async function readKeys(directory: string): Promise<Keys> {
  const file = path.join(directory, "keys.json");
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (isMissingFile(error)) return undefined;
    throw error;
  });
  if (text !== undefined) return parseJsonFile(file, text, Keys);
  const keys: Keys = {
    master: newKey(),
    host: { default: newKey() },
    functions: {},
    system: { durabletask_extension: newKey() },
  };
  await writeFile(file, `${JSON.stringify(keys, undefined, 2)}\n`, { mode: 0o600, flag: "wx" });
  return keys;
}

function newKey(): string {
  return randomBytes(32).toString("base64url");
}

export type AuthLevel = "anonymous" | "function" | "system" | "admin";

/** Whether a key opens a door of that level. Takes the same time whether or not it does. */
export function opens(
  keys: Keys,
  given: string | undefined,
  level: AuthLevel,
  functionName: string,
): boolean {
  if (level === "anonymous") return true;
  const accepted = [keys.master];
  if (level === "function") {
    accepted.push(
      ...Object.values(keys.host),
      ...Object.values(keys.functions[functionName.toLowerCase()] ?? {}),
    );
  }
  if (level === "system") accepted.push(keys.system.durabletask_extension);
  const hash = digest(given ?? "");
  let isOpen = false;
  for (const key of accepted) if (timingSafeEqual(hash, digest(key))) isOpen = true;
  return isOpen;
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
