import { parseArgs } from "node:util";
import { BackupError } from "../../errors/index.ts";
import { checkVhdx, openVhdx, readVhdxInfo, type Defect } from "../../vhdx/index.ts";
import { EXIT, UsageError, type Command, type CommandIo } from "../command.ts";
import { convert } from "../image/convert.ts";
import { createImage } from "../image/create.ts";
import { digestOf } from "../image/digest.ts";
import { formatOf, formatOfName, openDisk, openForReading, type DiskFormat } from "../image/open-disk.ts";
import { formatBytes, parseSize } from "../image/sizes.ts";

const USAGE = `usage: gcb image VERB FILE [OPTIONS]

  info FILE                what the file says of itself
  digest FILE              sha256 of everything that a guest reads from the disk
  map FILE [--own]         ranges that may be other than zero; --own: that this file alone decides about
  check FILE               every defect with its section of [MS-VHDX]; exit code 1 when the file must not be used
  create FILE --size SIZE  an empty VHDX disk
      [--kind dynamic|fixed] [--block-size SIZE] [--logical-sector 512|4096] [--physical-sector 512|4096]
  create FILE --parent FILE [--block-size SIZE]
                           an empty differencing disk on a parent in the same folder
  convert SOURCE TARGET    copy into a new file; the format follows TARGET's extension
      [--to raw|vhdx] [--kind dynamic|fixed] [--block-size SIZE]

  --format raw|vhdx        of FILE or SOURCE, when signature and extension do not tell
  --json                   one JSON document on standard output

FILE is a raw image or a VHDX file; of a differencing disk the parents are found beside it.
SIZE is in bytes, or has one of the units K, M, G, T (powers of 1024).`;

const OPTIONS = {
  json: { type: "boolean", default: false },
  own: { type: "boolean", default: false },
  format: { type: "string" },
  to: { type: "string" },
  kind: { type: "string" },
  size: { type: "string" },
  parent: { type: "string" },
  "block-size": { type: "string" },
  "logical-sector": { type: "string" },
  "physical-sector": { type: "string" },
} as const;

interface Request {
  readonly files: readonly string[];
  readonly options: ReturnType<
    typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>
  >["values"];
  readonly io: CommandIo;
}

const VERBS: Readonly<Record<string, (request: Request) => Promise<number>>> = {
  info,
  digest,
  map,
  check,
  create,
  convert: convertImage,
};

const image: Command = {
  summary: "look at, check, make and convert disk images (raw and VHDX)",
  usage: USAGE,
  run(args, io) {
    const { values, positionals } = parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
    const [verb, ...files] = positionals;
    const work = verb !== undefined && Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
    if (work === undefined)
      throw new UsageError(verb === undefined ? "no verb" : `there is no verb "${verb}"`);
    return work({ files, options: values, io });
  },
};
export default image;

async function info(request: Request): Promise<number> {
  const path = onlyFile(request);
  await using stack = new AsyncDisposableStack();
  const file = await openForReading(path, stack);
  const format = formatOption(request.options.format) ?? (await formatOf(path, file));
  const facts =
    format === "raw"
      ? { format, virtualSizeBytes: file.sizeBytes, fileBytes: file.sizeBytes }
      : { format, ...(await readVhdxInfo(file)) };
  answer(request, facts, () => describe(facts));
  return EXIT.ok;
}

async function digest(request: Request): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const { content } = await openDisk(onlyFile(request), formatOption(request.options.format), stack);
  const result = { sha256: await digestOf(content, request.io.signal), virtualSizeBytes: content.sizeBytes };
  answer(request, result, () => `${result.sha256}  ${formatBytes(result.virtualSizeBytes)}`);
  return EXIT.ok;
}

async function map(request: Request): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const path = onlyFile(request);
  // What a file decides by itself does not need its parents.
  const own = request.options.own ? await openVhdx(await openForReading(path, stack)) : undefined;
  const content = own ?? (await openDisk(path, formatOption(request.options.format), stack)).content;
  const { stdout } = request.io;
  const isJson = request.options.json;
  // Written as it is found: the map of a large disk may have millions of ranges.
  if (isJson) stdout.write(`{"virtualSizeBytes":${content.sizeBytes},"ranges":[`);
  let total = 0;
  let count = 0;
  for await (const range of own?.ownRanges() ?? content.allocatedRanges()) {
    request.io.signal.throwIfAborted();
    total += range.lengthBytes;
    stdout.write(
      isJson
        ? `${count === 0 ? "" : ","}${JSON.stringify(range)}`
        : `${range.offsetBytes}\t${range.lengthBytes}\n`,
    );
    count++;
  }
  stdout.write(isJson ? `],"rangeBytes":${total}}\n` : `${count} ranges, ${formatBytes(total)}\n`);
  return EXIT.ok;
}

async function check(request: Request): Promise<number> {
  const path = onlyFile(request);
  await using stack = new AsyncDisposableStack();
  const defects: Defect[] = [...(await checkVhdx(await openForReading(path, stack)))];
  if (!defects.some(({ severity }) => severity === "refuse"))
    defects.push(...(await linkDefects(path, stack)));
  const isUsable = !defects.some(({ severity }) => severity === "refuse");
  answer(request, { usable: isUsable, defects }, () =>
    [
      ...defects.map((each) => `${each.severity}\t${each.code}\t§${each.section}\t${each.message}`),
      isUsable ? "the file can be used" : "the file must not be used",
    ].join("\n"),
  );
  return isUsable ? EXIT.ok : EXIT.failed;
}

/** A file may be without fault and its chain not: the parent is missing, or is not the one it was. */
async function linkDefects(path: string, stack: AsyncDisposableStack): Promise<Defect[]> {
  try {
    await openDisk(path, "vhdx", stack);
    return [];
  } catch (error) {
    if (!(error instanceof BackupError) || typeof error.facts["section"] !== "string") throw error;
    const { code, message } = error;
    return [{ code: code as Defect["code"], section: error.facts["section"], severity: "refuse", message }];
  }
}

async function create(request: Request): Promise<number> {
  const { options } = request;
  const path = onlyFile(request);
  const blockBytes = sizeOption(options["block-size"]);
  const sizeBytes = sizeOption(options.size);
  if ((options.parent === undefined) === (sizeBytes === undefined)) {
    throw new UsageError("give --size, or --parent for a differencing disk");
  }
  const result =
    options.parent !== undefined
      ? await createImage(path, { kind: "differencing", parent: options.parent, blockBytes })
      : await createImage(path, {
          kind: kindOption(options.kind),
          sizeBytes: sizeBytes ?? 0,
          blockBytes,
          logicalSectorBytes: sectorOption(options["logical-sector"]) ?? 512,
          physicalSectorBytes: sectorOption(options["physical-sector"]) ?? 4096,
        });
  answer(request, result, () => `made ${path}, ${formatBytes(result.virtualSizeBytes)}`);
  return EXIT.ok;
}

async function convertImage(request: Request): Promise<number> {
  const [source, target, ...rest] = request.files;
  if (source === undefined || target === undefined || rest.length > 0) {
    throw new UsageError("convert needs a source and a target");
  }
  const result = await convert(
    {
      source,
      sourceFormat: formatOption(request.options.format),
      target,
      targetFormat: formatOption(request.options.to) ?? formatOfName(target),
      kind: kindOption(request.options.kind),
      blockBytes: sizeOption(request.options["block-size"]),
    },
    request.io.signal,
  );
  answer(request, result, () => `made ${target}, ${formatBytes(result.virtualSizeBytes)}`);
  return EXIT.ok;
}

function onlyFile({ files }: Request): string {
  const [path, ...rest] = files;
  if (path === undefined || rest.length > 0) throw new UsageError("give one file");
  return path;
}

function answer(request: Request, document: object, text: () => string): void {
  request.io.stdout.write(`${request.options.json ? JSON.stringify(document) : text()}\n`);
}

/** One line for each fact; what is inside of another fact is indented. */
function describe(facts: object, indent = ""): string {
  return Object.entries(facts)
    .map(([name, value]: [string, unknown]) =>
      typeof value === "object" && value !== null && !Array.isArray(value)
        ? `${indent}${name}\n${describe(value, `${indent}  `)}`
        : `${indent}${name.padEnd(24 - indent.length)}${Array.isArray(value) ? value.join(", ") : String(value)}`,
    )
    .join("\n");
}

function formatOption(text: string | undefined): DiskFormat | undefined {
  if (text === undefined || text === "raw" || text === "vhdx") return text;
  throw new UsageError(`there is no format "${text}"`);
}

function kindOption(text: string | undefined): "dynamic" | "fixed" {
  if (text === undefined || text === "dynamic") return "dynamic";
  if (text === "fixed") return text;
  throw new UsageError(`there is no kind "${text}"`);
}

function sectorOption(text: string | undefined): 512 | 4096 | undefined {
  if (text === undefined) return undefined;
  if (text === "512") return 512;
  if (text === "4096") return 4096;
  throw new UsageError(`sectors have 512 or 4096 bytes, not "${text}"`);
}

function sizeOption(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const size = parseSize(text);
  if (size === undefined) throw new UsageError(`"${text}" is no size`);
  return size;
}
