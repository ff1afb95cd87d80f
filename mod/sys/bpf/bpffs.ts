import { Arena } from "../ffi/arena.ts";
import { Errno, SysError } from "../ffi/errno.ts";
import { cString, errno, libc, unwrap } from "../ffi/libc.ts";
import { bpf, tryBpf } from "./call.ts";
import { fileCall } from "./file_call.ts";

/** Where the BPF file system belongs, as systemd mounts it. */
export const BPFFS = "/sys/fs/bpf";

/** proc(5). */
const MOUNTS = "/proc/self/mountinfo";

/**
 * Sees to it that the BPF file system is mounted: systemd does it at boot, other inits do not.
 *
 * @throws {SysError} EPERM without CAP_SYS_ADMIN; ENODEV in a kernel without it; ENOENT without sysfs
 */
export function ensureBpffs(): void {
  if (isMounted(fileCall("read", MOUNTS, () => Deno.readTextFileSync(MOUNTS)))) return;
  unwrap(
    "mount",
    libc().mount(cString("bpf"), cString(BPFFS), cString("bpf"), 0, cString("mode=0700")),
    BPFFS,
  );
}

/**
 * Looks whether anything can be pinned where the BPF file system is mounted. Where it is not,
 * {@linkcode ensureBpffs} would mount one.
 *
 * @throws {SysError} EROFS
 */
export function requireWritableBpffs(): void {
  const mountinfo = fileCall("read", MOUNTS, () => Deno.readTextFileSync(MOUNTS));
  if (isReadOnly(mountinfo)) throw new SysError("mkdir", Errno.EROFS, { subject: BPFFS });
}

/** True when a process' mountinfo (proc(5)) has the BPF file system where it belongs. */
export function isMounted(mountinfo: string): boolean {
  return mountsOf(mountinfo).length > 0;
}

/** True when the BPF file system that counts there, the last one, lets nobody write. */
export function isReadOnly(mountinfo: string): boolean {
  const last = mountsOf(mountinfo).at(-1);
  if (last === undefined) return false;
  // The mount may be read-only, or the file system itself.
  return [last.mount[5], last.source[2]].some((options) => options?.split(",").includes("ro"));
}

/** The lines of the BPF file system, each in its two parts: a variable number of tags stands between. */
function mountsOf(mountinfo: string): { readonly mount: string[]; readonly source: string[] }[] {
  return mountinfo.split("\n")
    .map((line) => {
      const [mount = "", source = ""] = line.split(" - ");
      return { mount: mount.split(" "), source: source.split(" ") };
    })
    .filter(({ mount, source }) => mount[4] === BPFFS && source[0] === "bpf");
}

/**
 * Keeps an object alive under a name, in place of what had that name: another process finds the one
 * or the other, never neither.
 *
 * @param path in {@linkcode BPFFS}; no component may hold a dot
 * @throws {SysError} ENOENT when the directory is missing; EPERM outside a BPF file system;
 * EROFS
 */
export function pin(fd: number, path: string): void {
  const fresh = `${path}_new`;
  removePin(fresh);
  withPath(fresh, (attributes) => {
    new DataView(attributes.buffer).setInt32(8, fd, true);
    bpf("BPF_OBJ_PIN", attributes, { subject: path });
  });
  fileCall("rename", path, () => Deno.renameSync(fresh, path));
}

/**
 * Opens a pinned object.
 *
 * @returns a descriptor; `undefined` when there is no such pin
 */
export function openPin(path: string): number | undefined {
  return withPath(path, (attributes) => {
    const fd = tryBpf("BPF_OBJ_GET", attributes);
    if (fd !== -1) return fd;
    const error = errno();
    // ENOSYS: a kernel without bpf(2) has no pins.
    if (error === Errno.ENOENT || error === Errno.ENOSYS) return undefined;
    throw new SysError("BPF_OBJ_GET", error, { subject: path });
  });
}

/**
 * Removes a pin; the object goes when nobody else holds it.
 *
 * @throws {SysError} EROFS; none when it is gone already
 */
export function removePin(path: string): void {
  unlessAbsent(() => fileCall("unlink", path, () => Deno.removeSync(path)));
}

/**
 * Makes a directory for pins, and those above it.
 *
 * @throws {SysError} EPERM where the BPF file system is not mounted; EROFS
 */
export function makePinDirectory(path: string): void {
  fileCall("mkdir", path, () => Deno.mkdirSync(path, { recursive: true }));
}

/**
 * Removes a directory with all pins in it.
 *
 * @throws {SysError} EROFS; none when it is gone already
 */
export function removePinDirectory(path: string): void {
  unlessAbsent(() => fileCall("rmdir", path, () => Deno.removeSync(path, { recursive: true })));
}

/**
 * True when something has this path.
 *
 * @throws {SysError} EACCES
 */
export function pathExists(path: string): boolean {
  return unlessAbsent(() => fileCall("lstat", path, () => Deno.lstatSync(path))) !== undefined;
}

/** @returns `undefined` when what the step is about is not there */
function unlessAbsent<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    if (error instanceof SysError && error.errno === Errno.ENOENT) return undefined;
    throw error;
  }
}

/** Runs `body` with attributes whose first member points to a path. */
function withPath<T>(path: string, body: (attributes: Uint8Array<ArrayBuffer>) => T): T {
  using arena = new Arena();
  const text = cString(path);
  const memory = arena.allocate(text.length);
  memory.bytes.set(text);
  const attributes = arena.allocate(16);
  attributes.view.setBigUint64(0, memory.address, true);
  return body(attributes.bytes);
}
