import { rm } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { BackupError } from "../../errors/index.ts";
import { createDifferencing, createVhdx, openVhdx } from "../../vhdx/index.ts";
import { createFile, openDisk } from "./open-disk.ts";

export type NewImage =
  | {
      readonly kind: "dynamic" | "fixed";
      readonly sizeBytes: number;
      readonly blockBytes: number | undefined;
      readonly logicalSectorBytes: 512 | 4096;
      readonly physicalSectorBytes: 512 | 4096;
    }
  | { readonly kind: "differencing"; readonly parent: string; readonly blockBytes: number | undefined };

/** Makes an empty VHDX file; one that could not be finished is removed. */
export async function createImage(path: string, image: NewImage): Promise<{ virtualSizeBytes: number }> {
  await using stack = new AsyncDisposableStack();
  const parent = image.kind === "differencing" ? await openParent(path, image.parent, stack) : undefined;
  const file = await createFile(path, stack);
  try {
    const block = image.blockBytes === undefined ? {} : { blockBytes: image.blockBytes };
    if (image.kind === "differencing") {
      if (parent !== undefined) await createDifferencing(file, parent, block);
    } else {
      const { kind, sizeBytes, logicalSectorBytes, physicalSectorBytes } = image;
      await createVhdx(file, { kind, sizeBytes, logicalSectorBytes, physicalSectorBytes, ...block });
    }
    return { virtualSizeBytes: (await openVhdx(file)).sizeBytes };
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

async function openParent(child: string, parent: string, stack: AsyncDisposableStack) {
  if (resolve(dirname(child)) !== resolve(dirname(parent))) {
    throw new BackupError("INPUT_INVALID", "Parent and child must be in one folder; put them together.", {
      facts: { child, parent },
    });
  }
  const opened = await openDisk(parent, "vhdx", stack);
  if (opened.format !== "vhdx") throw new RangeError("a VHDX file was asked for");
  return { image: opened.disk, relativePath: basename(parent), absolutePath: resolve(parent) };
}
