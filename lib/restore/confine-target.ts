import { mkdir, realpath } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { BackupError } from "../errors/index.ts";

/**
 * Makes the target directory and gives its real path, which lies below one of the roots. Neither `..` nor a link on the way leads out.
 *
 * @throws BackupError RESTORE_PATH_REFUSED
 */
export async function confineTarget(roots: readonly string[], directory: string): Promise<string> {
  const hasControl = /\p{Cc}/u.test(directory);
  if (!isAbsolute(directory) || hasControl || directory.split(/[\\/]/).includes("..")) {
    throw refused(directory, 'it is not an absolute path without ".."');
  }
  const realRoots = await Promise.all(roots.map((root) => realpath(root).catch(() => undefined)));
  const isBelowRoot = (path: string) => realRoots.some((root) => root !== undefined && isBelow(root, path));
  const wanted = resolve(directory);
  // Before anything is made: where would it be made?
  if (!isBelowRoot(await realOfNearest(wanted, ""))) {
    throw refused(directory, `it is not below a restore root (${roots.join(", ") || "none is configured"})`);
  }
  await mkdir(wanted, { recursive: true });
  const real = await realpath(wanted);
  if (!isBelowRoot(real)) throw refused(directory, "a link leads out of the restore root");
  return real;
}

/** The real path of the deepest folder that exists, with the rest appended. */
async function realOfNearest(path: string, rest: string): Promise<string> {
  try {
    return resolve(await realpath(path), rest);
  } catch (error) {
    const parent = dirname(path);
    if (parent === path) throw error;
    return realOfNearest(
      parent,
      rest === "" ? relative(parent, path) : `${relative(parent, path)}${sep}${rest}`,
    );
  }
}

function isBelow(root: string, path: string): boolean {
  const way = relative(root, path);
  return way === "" || (!isAbsolute(way) && way.split(sep)[0] !== "..");
}

function refused(directory: string, why: string): BackupError {
  return new BackupError(
    "RESTORE_PATH_REFUSED",
    `nothing is restored to ${JSON.stringify(directory)}: ${why}; name a directory below a restore root of the agent`,
    { retry: "after-operator", facts: { directory } },
  );
}
