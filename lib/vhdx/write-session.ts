import type { ByteFile } from "./byte-file.ts";
import { defectError, strictInspector } from "./defects.ts";
import { NIL_GUID, type Guid } from "./guid.ts";
import { HeaderWriter } from "./header-writer.ts";
import type { Image } from "./image.ts";
import { LOG_SECTOR_BYTES, MIB } from "./layout.ts";
import { LogWriter } from "./log-writer.ts";
import type { Replay } from "./log-replay.ts";
import { imageOf } from "./open.ts";
import { readStructure, type Structure } from "./structure.ts";
import type { VhdxImage } from "./virtual-disk.ts";
import { replayedReader } from "./replayed-reader.ts";
import { roundUp } from "./bytes.ts";

/** One open of a file for writing: its image, its headers, its log and the end of what it uses. */
export class WriteSession {
  readonly file: ByteFile;
  readonly image: Image;
  readonly #headers: HeaderWriter;
  readonly #log: LogWriter;
  readonly #newGuid: () => Guid;
  #hasNewFileGuid = false;
  #hasNewDataGuid = false;
  /** End of the file as long as the session lasts; a multiple of 1 MiB. */
  #endBytes: number;

  constructor(file: ByteFile, image: Image, newGuid: () => Guid) {
    this.file = file;
    this.image = image;
    this.#headers = new HeaderWriter(file, image.structure.current);
    this.#newGuid = newGuid;
    this.#log = new LogWriter(file, this.#headers, newGuid());
    this.#endBytes = image.structure.survey.usedBytes;
  }

  /**
   * Called before every change of the file. The first call gives the file a new FileWriteGuid, the first one with
   * `isVisible` a new DataWriteGuid ([MS-VHDX] §2.2.2).
   *
   * @param isVisible whether the change can be seen by a reader of the virtual disk
   * @param dataWriteGuid the new DataWriteGuid, when it was announced to a child
   */
  async begin(isVisible: boolean, dataWriteGuid?: Guid): Promise<void> {
    const needsData = isVisible && !this.#hasNewDataGuid;
    if (this.#hasNewFileGuid && !needsData) return;
    await this.#headers.update({
      ...(this.#hasNewFileGuid ? {} : { fileWriteGuid: this.#newGuid() }),
      ...(needsData ? { dataWriteGuid: dataWriteGuid ?? this.#newGuid() } : {}),
    });
    this.image.header = this.#headers.header;
    this.#hasNewDataGuid ||= needsData;
    if (this.#hasNewFileGuid) return;
    this.#hasNewFileGuid = true;
    await this.#squareEnd();
  }

  /**
   * What a cut session left behind the last block is taken off, so that new space is always zeros. The log is empty
   * here: while it is in use a file must not get shorter (§2.3.1.1). A fixed disk keeps its length (§2.6.2.1).
   */
  async #squareEnd(): Promise<void> {
    if (this.image.kind === "fixed") this.#endBytes = roundUp(this.file.sizeBytes, MIB);
    if (this.file.sizeBytes !== this.#endBytes) await this.file.resize(this.#endBytes);
  }

  /** Makes the file longer and gives the offset of the new space, which holds zeros. */
  async extend(lengthBytes: number): Promise<number> {
    const offsetBytes = this.#endBytes;
    await this.file.resize(offsetBytes + lengthBytes);
    this.#endBytes = offsetBytes + lengthBytes;
    return offsetBytes;
  }

  /** Brings all changes of the image's metadata into the file, by way of the log, and makes all data stable. */
  async commit(): Promise<void> {
    await this.#log.commit(this.image.cache.changes());
    this.image.cache.settle();
  }

  async close(): Promise<void> {
    await this.commit();
    await this.#log.close();
  }
}

/** Opens a file for writing. A dirty log is replayed into the file first, once everything in it was found good. */
export async function openSession(
  file: ByteFile,
  parent: VhdxImage | undefined,
  newGuid: () => Guid,
): Promise<WriteSession> {
  let structure = await readStructure(file, strictInspector);
  if (structure.current.header.logLengthBytes === 0) {
    throw defectError(
      "VHDX_LOG_PLACE_INVALID",
      "the file has no log; without one it cannot be changed safely",
    );
  }
  if (structure.replay !== undefined) {
    await replayIntoFile(file, structure, structure.replay, newGuid);
    structure = await readStructure(file, strictInspector);
  }
  return new WriteSession(file, imageOf(structure, parent), newGuid);
}

/** Can be cut and begun again at any write: the log stays valid until everything it says is in place. */
async function replayIntoFile(
  file: ByteFile,
  structure: Structure,
  replay: Replay,
  newGuid: () => Guid,
): Promise<void> {
  const headers = new HeaderWriter(file, structure.current);
  await headers.update({ fileWriteGuid: newGuid() });
  const replayed = replayedReader(file, replay, strictInspector);
  const endBytes = roundUp(replayed.sizeBytes, MIB);
  if (file.sizeBytes < endBytes) await file.resize(endBytes);
  const page = new Uint8Array(MIB);
  for (const { offsetBytes, lengthBytes } of placesOf(replay)) {
    for (let done = 0; done < lengthBytes; done += page.length) {
      const part = page.subarray(0, Math.min(page.length, lengthBytes - done));
      await replayed.read(offsetBytes + done, part);
      await file.write(offsetBytes + done, part);
    }
  }
  await file.flush();
  await headers.update({ logGuid: NIL_GUID });
}

function placesOf(replay: Replay): { readonly offsetBytes: number; readonly lengthBytes: number }[] {
  return replay.updates.map((update) =>
    update.kind === "zero"
      ? { offsetBytes: update.offsetBytes, lengthBytes: update.lengthBytes }
      : { offsetBytes: update.offsetBytes, lengthBytes: LOG_SECTOR_BYTES },
  );
}
