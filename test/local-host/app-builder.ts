import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import path from "node:path";

/**
 * Writes a small app into a folder of its own under test/local-host, where it finds the installed packages.
 *
 * @param files texts by path; package.json is added when it is not among them
 */
export async function buildApp(
  files: Readonly<Record<string, string>>,
): Promise<AsyncDisposable & { readonly path: string }> {
  const directory = await mkdtemp(path.join(import.meta.dirname, "apps", "built-"));
  const all = { "package.json": JSON.stringify({ main: "index.js", type: "commonjs" }), ...files };
  for (const [name, text] of Object.entries(all)) {
    const file = path.join(directory, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  return { path: directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}
