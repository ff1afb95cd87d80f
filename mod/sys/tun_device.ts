import { Errno, SysError } from "./ffi/errno.ts";
import { closeDescriptor, cString, libc, unwrap } from "./ffi/libc.ts";
import { IFNAMSIZ, IFREQ_LENGTH, O_CLOEXEC, O_NONBLOCK } from "./linux_constants.ts";

/** Linux `include/uapi/linux/if_tun.h`; the number holds on x86-64 and arm64. */
const TUNSETIFF = 0x400454ca;
/** asm-generic/fcntl.h: O_RDWR | O_NONBLOCK | O_CLOEXEC. */
const OPEN_FLAGS = 0o2 | O_NONBLOCK | O_CLOEXEC;

/** A TUN or TAP device, and the descriptor that reads and writes it. */
export interface AttachedTun {
  /** Non-blocking. */
  readonly fd: number;
  /** As the kernel named it. */
  readonly name: string;
}

/**
 * Creates a TUN or TAP device, or attaches to one that exists.
 *
 * @param name `flannel0`; a `%d` lets the kernel number it
 * @param flags IFF_* of linux/if_tun.h
 * @throws {SysError} EBUSY when another process holds it; EINVAL when an interface of that name is
 * no such device; EPERM without CAP_NET_ADMIN; ENODEV without the module tun; ENOENT without /dev/net/tun
 */
export function attachTunDevice(name: string, flags: number): AttachedTun {
  const fd = openControlDevice();
  try {
    const request = new Uint8Array(new ArrayBuffer(IFREQ_LENGTH));
    request.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
    new DataView(request.buffer).setUint16(IFNAMSIZ, flags, true);
    setInterface(fd, request, name);
    return { fd, name: new TextDecoder().decode(request.subarray(0, request.indexOf(0))) };
  } catch (error) {
    closeDescriptor(fd);
    throw error;
  }
}

/** Opens the device that makes others: the kernel loads the module for whoever opens it. */
function openControlDevice(): number {
  const path = "/dev/net/tun";
  try {
    return unwrap("open", libc().open(cString(path), OPEN_FLAGS, 0), path);
  } catch (cause) {
    const isMissing = cause instanceof SysError &&
      (cause.errno === Errno.ENOENT || cause.errno === Errno.ENODEV);
    if (!isMissing) throw cause;
    throw new SysError(cause.syscall, cause.errno, {
      ...{ cause, subject: path },
      detail: cause.errno === Errno.ENODEV
        ? "the kernel has no module tun: install it"
        : "modprobe tun creates it; a container must be given it",
    });
  }
}

/**
 * Calls ioctl(2) TUNSETIFF, which never fails with ENOENT. V8 sets that value once in the life of a process, between
 * the call and {@linkcode errno}, most likely here, in one of the first calls. A second call returns the true error.
 */
function setInterface(fd: number, request: Uint8Array<ArrayBuffer>, name: string): void {
  const call = () => unwrap("TUNSETIFF", libc().ioctl(fd, TUNSETIFF, request), name);
  try {
    call();
  } catch (error) {
    if (!(error instanceof SysError) || error.errno !== Errno.ENOENT) throw error;
    call();
  }
}
