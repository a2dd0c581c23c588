import type { ByteReader } from "./byte-file.ts";
import { defectError, strictInspector } from "./defects.ts";
import type { Image } from "./image.ts";
import { MAX_CHAIN_FILES } from "./layout.ts";
import { imageOf } from "./open.ts";
import type { ParentLocator } from "./parent-locator.ts";
import { readStructure, type Structure } from "./structure.ts";
import type { VhdxImage } from "./virtual-disk.ts";

/** Gives a reader of a file in the one folder that may be used, by base name; rejects when there is none. */
export type OpenByName = (baseName: string) => Promise<ByteReader>;

/** A disk of a leaf and all its parents. */
export interface DiskChain extends VhdxImage {
  /** Base names, leaf first. */
  readonly files: readonly string[];
}

export interface ChainOptions {
  /**
   * Whether a parent's path may name another folder: "refuse" (the default), or "ignore" to look for its base name
   * in the one folder all the same (files of several folders were gathered in one).
   */
  readonly foreignFolders?: "refuse" | "ignore";
}

interface NamedFile {
  readonly name: string;
  readonly file: ByteReader;
}

/**
 * Opens a leaf and its parents, as the locators name them: relative path first, then volume path, then absolute
 * path ([MS-VHDX] §2.6.2.6.3). The paths are hostile text: only base names ever reach `open`.
 *
 * @throws BackupError VHDX_PARENT_MISSING, VHDX_PARENT_OUTSIDE_FOLDER, VHDX_PARENT_LINKAGE_MISMATCH,
 *   VHDX_PARENT_SECTOR_SIZE_MISMATCH, VHDX_CHAIN_CYCLE, VHDX_CHAIN_TOO_LONG, or what `openVhdx` throws of one file
 */
export async function openChain(
  open: OpenByName,
  leafName: string,
  options: ChainOptions = {},
): Promise<DiskChain> {
  const links: { readonly name: string; readonly structure: Structure }[] = [];
  const names = new Set<string>();
  const contents = new Set<string>();
  let next: NamedFile | undefined = { name: leafName, file: await open(leafName) };
  while (next !== undefined) {
    const { name, file }: NamedFile = next;
    const structure: Structure = await readStructure(file, strictInspector);
    const content = structure.current.header.dataWriteGuid;
    const folded = name.toLowerCase();
    if (names.has(folded) || contents.has(content)) {
      throw defectError("VHDX_CHAIN_CYCLE", `the chain of ${leafName} comes back to ${name}`);
    }
    names.add(folded);
    contents.add(content);
    links.push({ name, structure });
    if (links.length > MAX_CHAIN_FILES) {
      throw defectError(
        "VHDX_CHAIN_TOO_LONG",
        `the chain of ${leafName} has more than ${MAX_CHAIN_FILES} files`,
      );
    }
    const locator: ParentLocator | undefined = structure.metadata.parentLocator;
    next = locator === undefined ? undefined : await openParent(open, name, locator, options);
  }
  let image: Image | undefined;
  for (const { structure } of links.toReversed()) image = imageOf(structure, image);
  if (image === undefined) throw new RangeError("a chain has at least its leaf");
  return Object.assign(image, { files: links.map(({ name }) => name) });
}

async function openParent(
  open: OpenByName,
  child: string,
  locator: ParentLocator,
  options: ChainOptions,
): Promise<NamedFile> {
  const tried: string[] = [];
  let cause: unknown;
  for (const name of candidateNames(child, locator, options)) {
    tried.push(name);
    try {
      return { name, file: await open(name) };
    } catch (error) {
      cause = error;
    }
  }
  throw Object.assign(
    defectError(
      "VHDX_PARENT_MISSING",
      `the parent of ${child} (${tried.map((name) => `"${name}"`).join(", ")}) is not in the folder; put it beside its child`,
      { child, parent: tried[0] ?? "" },
    ),
    { cause },
  );
}

/**
 * Base names to look for, in order. A relative path that leads out of the folder is refused at once; an absolute one
 * that cannot be used (a share, on a host whose disks lie on one) only when there is nothing else.
 */
function candidateNames(child: string, locator: ParentLocator, options: ChainOptions): readonly string[] {
  const names = new Set<string>();
  if (locator.relativePath !== undefined)
    names.add(parentBaseName(locator.relativePath, true, child, options));
  const refusals: Error[] = [];
  for (const path of [locator.volumePath, locator.absolutePath]) {
    if (path === undefined) continue;
    try {
      names.add(parentBaseName(path, false, child, options));
    } catch (error) {
      if (error instanceof Error) refusals.push(error);
    }
  }
  const [refusal] = refusals;
  if (names.size === 0 && refusal !== undefined) throw refusal;
  return [...names];
}

/**
 * The base name in a parent path. A relative path must name a file in the child's own folder; of an absolute one,
 * which was written where the disk was made, only the name counts, but network and device paths are refused.
 */
export function parentBaseName(
  path: string,
  isRelative: boolean,
  child: string,
  options: ChainOptions = {},
): string {
  const parts = path.split(/[\\/]/);
  const name = parts.at(-1) ?? "";
  const folders = parts.slice(0, -1);
  const isElsewhere = isRelative
    ? folders.some((part) => part !== ".")
    : /^[\\/]{2}(?!\?[\\/])/.test(path) || /^[\\/]{2}\?[\\/]UNC[\\/]/i.test(path) || folders.includes("..");
  const isName = name !== "" && name !== "." && name !== ".." && !/[:*?"<>|]|\p{Cc}/u.test(name);
  if (!isName || (isElsewhere && options.foreignFolders !== "ignore")) {
    throw defectError(
      "VHDX_PARENT_OUTSIDE_FOLDER",
      `${child} names its parent as ${JSON.stringify(path)}, which is not a file of its own folder`,
      { child },
    );
  }
  return name;
}
