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
   * Have the kernel hand over super-packets and open checksums, as far as it does. Without, the device
   * is as on a kernel that refuses all of TUNSETOFFLOAD. @default true
   */
  readonly segmentation?: boolean;
  /** Queues, each with a descriptor of its own: one per worker. @default 1 */
  readonly queues?: number;
}

/** A TUN device and the descriptors of its queues. */
export interface Tun {
  /** As the kernel named it. */
  readonly name: string;
  /** One per queue; non-blocking. */
  readonly descriptors: readonly number[];
  /** Super-packets that the kernel takes. */
  readonly segmentation: MergerOptions;
  /** It hands them over too; what it has refused to hand over it cuts first. */
  readonly uncut: boolean;
}

/**
 * Opens a TUN device, or attaches to one that an earlier process left: it is persistent, so that its
 * addresses and routes outlive the agent. A `kill -9` leaves the same thing, and the next start
 * attaches to it.
 *
 * One that was made for another number of queues cannot be attached to (the kernel fixes one or
 * many when it makes it) and is made anew, without its addresses.
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
    return { name: first.name, descriptors, ...offer(first.fd, segmentation) };
  } catch (error) {
    descriptors.forEach(closeDescriptor);
    throw error;
  }
}

/** Closes the queues. The device stays, unless `remove`. */
export function closeTun(tun: Tun, options: { readonly remove?: boolean } = {}): void {
  if (options.remove) libc().ioctl_int(tun.descriptors[0]!, TUNSETPERSIST, 0);
  tun.descriptors.forEach(closeDescriptor);
}

function attach(name: string, flags: number): AttachedTun {
  const attached = attachTunDevice(name, flags);
  try {
    // A device that stayed may have been left with the longer header of another program.
    const size = new Uint8Array(new ArrayBuffer(4));
    size[0] = VIRTIO_HEADER;
    unwrap("TUNSETVNETHDRSZ", libc().ioctl(attached.fd, TUNSETVNETHDRSZ, size), name);
    return attached;
  } catch (error) {
    closeDescriptor(attached.fd);
    throw error;
  }
}

/** Ends a device that was made for one queue where many are wanted, or the other way round. */
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
 * Asks to be handed super-packets, most first: the kernel refuses a set it does not know in whole. USO
 * needs Linux 6.2 and both families at once; IPv6 packets are dropped later, as all of them.
 *
 * What is asked for here is one direction. Super-packets of TCP that we write the kernel takes without
 * being asked, as long as there has been a virtio header (2.6.27); those of UDP since it has USO.
 */
function offer(fd: number, ask: boolean): Pick<Tun, "segmentation" | "uncut"> {
  const tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN;
  const set = (flags: number) => libc().ioctl_int(fd, TUNSETOFFLOAD, flags) === 0;
  if (ask && set(tso | TUN_F_USO4 | TUN_F_USO6)) {
    return { segmentation: { tcp: true, udp: true }, uncut: true };
  }
  const uncut = ask && set(tso);
  // An earlier agent may have been handed what this one is not.
  if (!uncut) set(0);
  return { segmentation: { tcp: true, udp: false }, uncut };
}
