import {
  type AttachedTun,
  attachTunDevice,
  closeDescriptor,
  Errno,
  libc,
  SysError,
  unwrap,
} from "../../../../mod/sys/mod.ts";
import type { MergerOptions } from "../packet/merge.ts";
import { VIRTIO_HEADER } from "../packet/virtio.ts";
import { IFF_NO_PI } from "../../../../mod/sys/linux_constants.ts";

/** Linux `include/uapi/linux/if_tun.h`; the numbers hold on x86-64 and arm64. */
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const IFF_TUN = 0x0001;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO_ECN = 0x08;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;

/** Options of {@linkcode openTun}. */
export interface TunOptions {
  /** `flannel0`; a `%d` lets the kernel number it. */
  readonly name: string;
  /**
   * Request GSO packets and partial checksums from the kernel (TUNSETOFFLOAD). False behaves as a kernel that
   * refuses the request. @default true
   */
  readonly segmentation?: boolean;
  /** Number of queues, one for each worker; each has a descriptor. @default 1 */
  readonly queues?: number;
}

/** A TUN device and the descriptors of its queues. */
export interface Tun {
  /** Name that the kernel chose. */
  readonly name: string;
  /** One for each queue; non-blocking. */
  readonly descriptors: readonly number[];
  /** Kinds of GSO packets that may be written to the device. */
  readonly segmentation: MergerOptions;
  /** Reads return TCP GSO packets; otherwise the kernel segments them first. */
  readonly tso: boolean;
}

/**
 * Creates a TUN device, or attaches to the one that an earlier process left. The device is persistent: its addresses
 * and routes outlive the agent, also after `kill -9`.
 *
 * The kernel fixes at creation whether a device has one queue or many. A device of the other kind is deleted and
 * created again, without its addresses.
 *
 * @throws {SysError} EBUSY when another process holds it; EINVAL when an interface of that name is
 * no TUN device; EPERM without CAP_NET_ADMIN; ENOENT without the tun module
 */
export function openTun(options: TunOptions): Tun {
  const { name, segmentation = true, queues = 1 } = options;
  const flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  const wanted = queues > 1 ? IFF_MULTI_QUEUE : 0;
  const descriptors: number[] = [];
  try {
    let first: AttachedTun;
    try {
      first = attach(name, flags | wanted);
    } catch (error) {
      if (!(error instanceof SysError) || error.errno !== Errno.EINVAL) throw error;
      destroy(name, flags | (wanted ^ IFF_MULTI_QUEUE), error);
      first = attach(name, flags | wanted);
    }
    descriptors.push(first.fd);
    while (descriptors.length < queues) descriptors.push(attach(first.name, flags | wanted).fd);
    unwrap("TUNSETPERSIST", libc().ioctl_int(first.fd, TUNSETPERSIST, 1), first.name);
    return { name: first.name, descriptors, ...requestOffload(first.fd, segmentation) };
  } catch (error) {
    descriptors.forEach(closeDescriptor);
    throw error;
  }
}

/** Closes the queues. The device stays. */
export function closeTun(tun: Tun): void {
  tun.descriptors.forEach(closeDescriptor);
}

function attach(name: string, flags: number): AttachedTun {
  const attached = attachTunDevice(name, flags);
  try {
    // Another program may have set a longer header on an existing device.
    const size = new Uint8Array(new ArrayBuffer(4));
    size[0] = VIRTIO_HEADER;
    unwrap("TUNSETVNETHDRSZ", libc().ioctl(attached.fd, TUNSETVNETHDRSZ, size), name);
    return attached;
  } catch (error) {
    closeDescriptor(attached.fd);
    throw error;
  }
}

/** Deletes a device that has one queue instead of many, or many instead of one. */
function destroy(name: string, flags: number, cause: SysError): void {
  let other: AttachedTun;
  try {
    other = attach(name, flags);
  } catch (error) {
    if (!(error instanceof SysError) || error.errno !== Errno.EINVAL) throw error;
    throw new SysError("TUNSETIFF", Errno.EINVAL, {
      subject: name,
      detail: "an interface of that name exists and is not a TUN device",
      cause,
    });
  }
  libc().ioctl_int(other.fd, TUNSETPERSIST, 0);
  closeDescriptor(other.fd);
}

/**
 * Requests GSO packets from the kernel, first with USO: the kernel refuses a set of flags as a whole if it does not
 * know one. USO needs Linux 6.2 and both address families at once; IPv6 packets are dropped later.
 *
 * The request is for reads only. TCP GSO packets may always be written with a virtio header (Linux 2.6.27), UDP GSO
 * packets since the kernel has USO.
 */
function requestOffload(fd: number, isWanted: boolean): Pick<Tun, "segmentation" | "tso"> {
  const tcpFlags = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN;
  const set = (flags: number) => libc().ioctl_int(fd, TUNSETOFFLOAD, flags) === 0;
  if (isWanted && set(tcpFlags | TUN_F_USO4 | TUN_F_USO6)) {
    return { segmentation: { tcp: true, udp: true }, tso: true };
  }
  const tso = isWanted && set(tcpFlags);
  // An earlier agent may have set more flags.
  if (!tso) set(0);
  return { segmentation: { tcp: true, udp: false }, tso };
}
