import {
  createDifferencing,
  createVhdx,
  memoryFile,
  openVhdx,
  openVhdxForWrite,
  type ByteFile,
  type NewDiskOptions,
  type VhdxImage,
} from "../../lib/vhdx/index.ts";

const MIB = 1_048_576;

/** A good file that cases are bent from. */
export interface Seed {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Of a differencing disk. */
  readonly parent?: VhdxImage;
}

/** Good files of every kind, small enough that a copy costs little. */
export async function makeCorpus(): Promise<readonly Seed[]> {
  const dynamic = await disk({ kind: "dynamic", sizeBytes: 8 * MIB, blockBytes: MIB }, true);
  const base = await disk({ kind: "dynamic", sizeBytes: 8 * MIB + 512, blockBytes: MIB }, true);
  const parent = await openVhdx(base);
  return [
    { name: "dynamic", bytes: await bytesOf(dynamic) },
    {
      name: "dynamic, dirty log",
      bytes: await bytesOf(await disk({ kind: "dynamic", sizeBytes: 8 * MIB, blockBytes: MIB }, false)),
    },
    {
      name: "fixed",
      bytes: await bytesOf(await disk({ kind: "fixed", sizeBytes: 3 * MIB, blockBytes: MIB }, true)),
    },
    {
      name: "4 KiB sectors, blocks of 2 MiB",
      bytes: await bytesOf(
        await disk(
          { kind: "dynamic", sizeBytes: 9 * MIB, blockBytes: 2 * MIB, logicalSectorBytes: 4096 },
          true,
        ),
      ),
    },
    {
      name: "2 TiB, nearly empty",
      bytes: await bytesOf(
        await disk({ kind: "dynamic", sizeBytes: 2 ** 41, blockBytes: 32 * MIB }, true, []),
      ),
    },
    { name: "differencing", bytes: await bytesOf(await child(parent, true)), parent },
    { name: "differencing, dirty log", bytes: await bytesOf(await child(parent, false)), parent },
  ];
}

const PLACES = [0, MIB + 4_096, 2 * MIB - 512];

async function disk(
  options: NewDiskOptions & { readonly kind: "dynamic" | "fixed" },
  isClosed: boolean,
  places: readonly number[] = PLACES,
): Promise<ByteFile> {
  const file = memoryFile();
  await createVhdx(file, options);
  await fill(file, undefined, places, isClosed);
  return file;
}

async function child(parent: VhdxImage, isClosed: boolean): Promise<ByteFile> {
  const file = memoryFile();
  const names = { relativePath: "base.vhdx", absolutePath: "C:\\disks\\base.vhdx" };
  await createDifferencing(file, { image: parent, ...names }, { blockBytes: MIB });
  await fill(file, parent, [4_096, 3 * MIB + 512], isClosed);
  return file;
}

/** Without a close the log stays dirty, with an entry for each flush. */
async function fill(
  file: ByteFile,
  parent: VhdxImage | undefined,
  places: readonly number[],
  isClosed: boolean,
): Promise<void> {
  const writer = await openVhdxForWrite(file, parent === undefined ? {} : { parent });
  for (const [index, at] of places.entries()) {
    await writer.write(at, new Uint8Array(8_192).fill(index + 1));
    await writer.flush();
  }
  if (isClosed) await writer.close();
}

async function bytesOf(file: ByteFile): Promise<Uint8Array> {
  const bytes = new Uint8Array(file.sizeBytes);
  await file.read(0, bytes);
  return bytes;
}
