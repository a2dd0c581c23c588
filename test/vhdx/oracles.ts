import { execFileSync, spawnSync } from "node:child_process";

const PYTHON = "/usr/bin/python3";

function runs(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

/** Debian's qemu-utils: reads and writes fixed and dynamic disks with 512-byte sectors. */
export const HAS_QEMU_IMG = runs("qemu-img", ["--version"]);
/** Debian's python3-libvhdi: reads all kinds, but no log; ZERO blocks of a differencing disk as the parent's. */
export const HAS_LIBVHDI = runs(PYTHON, ["-c", "import pyvhdi"]);

/** sha256 of what qemu-img reads from a disk. */
export function qemuDigest(path: string): string {
  const raw = `${path}.raw`;
  execFileSync("qemu-img", ["convert", "-f", "vhdx", "-O", "raw", path, raw]);
  return execFileSync("sha256sum", [raw], { encoding: "utf8" }).slice(0, 64);
}

/** Status of `qemu-img check`: 0 when it finds nothing. */
export function qemuCheck(path: string): number | null {
  return spawnSync("qemu-img", ["check", "-f", "vhdx", path]).status;
}

const READ_CHAIN = `
import hashlib, pyvhdi, sys
opened = []
for path in sys.argv[1:]:
    disk = pyvhdi.file()
    disk.open(path)
    opened.append(disk)
for child, parent in zip(opened, opened[1:]):
    child.set_parent(parent)
digest = hashlib.sha256()
size = opened[0].get_media_size()
for at in range(0, size, 1 << 20):
    digest.update(opened[0].read_buffer_at_offset(min(1 << 20, size - at), at))
print(digest.hexdigest())
`;

/** sha256 of what libvhdi reads from a chain, leaf first. */
export function libvhdiDigest(...paths: readonly string[]): string {
  return execFileSync(PYTHON, ["-c", READ_CHAIN, ...paths], { encoding: "utf8" }).trim();
}
