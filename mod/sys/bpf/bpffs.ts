import { Arena } from "../arena.ts";
import { Errno, SysError } from "../errno.ts";
import { cString, errno, libc, unwrap } from "../libc.ts";
import { bpf, tryBpf } from "./call.ts";

/** Where the BPF file system belongs, as systemd mounts it. */
export const BPFFS = "/sys/fs/bpf";

/**
 * Sees to it that the BPF file system is mounted: systemd does it at boot, other inits do not.
 *
 * @throws {SysError} EPERM without CAP_SYS_ADMIN; ENODEV in a kernel without it
 */
export function ensureBpffs(): void {
  if (isMounted(Deno.readTextFileSync("/proc/self/mountinfo"))) return;
  unwrap(
    "mount",
    libc().mount(cString("bpf"), cString(BPFFS), cString("bpf"), 0, cString("mode=0700")),
    { subject: BPFFS },
  );
}

/** True when a process' mountinfo (proc(5)) has the BPF file system where it belongs. */
export function isMounted(mountinfo: string): boolean {
  return mountinfo.split("\n").some((line) => {
    const [mount, source] = line.split(" - ");
    return mount!.split(" ")[4] === BPFFS && source?.split(" ")[0] === "bpf";
  });
}

/**
 * Keeps an object alive under a name, in place of what had that name: another process finds the one
 * or the other, never neither.
 *
 * @param path in {@linkcode BPFFS}; no component may hold a dot
 * @throws {SysError} ENOENT when the directory is missing; EPERM outside a BPF file system
 */
export function pin(fd: number, path: string): void {
  const fresh = `${path}_new`;
  removePin(fresh);
  withPath(fresh, (attributes) => {
    new DataView(attributes.buffer).setInt32(8, fd, true);
    bpf("BPF_OBJ_PIN", attributes, { subject: path });
  });
  Deno.renameSync(fresh, path);
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
    if (error === Errno.ENOENT) return undefined;
    throw new SysError("BPF_OBJ_GET", error, { subject: path });
  });
}

/** Removes a pin; the object goes when nobody else holds it. */
export function removePin(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
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
