import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { gunzipSync } from "node:zlib";

/** Images of other makers, beside the project; they are not part of it. */
export const SHARED_IMAGES = resolve(import.meta.dirname, "../../../shared/data/vhdx");

/** The content of an image, unpacked when it is compressed. */
export function unpack(path: string): Uint8Array {
  const file = resolve(SHARED_IMAGES, path);
  if (path.endsWith(".gz")) return gunzipSync(readFileSync(file));
  if (path.endsWith(".xz")) return execFileSync("xz", ["-dc", file], { maxBuffer: 2 ** 30 });
  return readFileSync(file);
}
