import { Errno, SysError } from "../../../mod/sys/ffi/errno.ts";
import { driverInfo, transmitChecksumOffload } from "../../../mod/sys/ethtool.ts";
import type { BackendContext } from "../../backend.ts";
import { UnsuitableError } from "./errors.ts";

/**
 * Drivers of virtual network cards. The other end may be a guest of the same machine, which gets packets without a
 * wire, with partial checksums.
 */
const PARAVIRTUAL: ReadonlySet<string> = new Set([
  "virtio_net",
  "vmxnet3",
  "hv_netvsc",
  "vif",
  "xen_netfront",
]);

/** Traits of an interface that decide whether it completes offloads. */
export interface Underlay {
  /** Name of the driver (ethtool); empty when the interface reports none. */
  readonly driver: string;
  /** Bus address of hardware; empty on a virtual interface. */
  readonly bus: string;
  /** The interface accepts packets with a partial checksum (tx-checksum offload). */
  readonly partialChecksums: boolean;
}

/**
 * Reads an interface's traits by ethtool's ioctl, in the network namespace of the calling thread.
 *
 * @throws {SysError} ENODEV when there is none
 */
export function readUnderlay(name: string): Underlay {
  const { driver, bus } = ifSupported(() => driverInfo(name)) ?? { driver: "", bus: "" };
  // An interface that does not answer counts as the worse case.
  const partialChecksums = ifSupported(() => transmitChecksumOffload(name)) ?? true;
  return { driver, bus, partialChecksums };
}

/**
 * Returns whether an interface completes offloads: packets leave it with full checksums, and GSO packets in
 * segments. Any receiver can read those, flannel's proxy included. Others, such as veth, deliver the packet in memory
 * as it is, which only a receiver can read whose kernel decapsulates it.
 */
export function completesOffloads({ driver, bus, partialChecksums }: Underlay): boolean {
  // Without tx-checksum offload the kernel sums and segments a packet before it reaches the driver.
  if (!partialChecksums) return true;
  return /^[0-9a-f]{4}:|^[0-9]|^(usb|platform)-?/.test(bus) && !PARAVIRTUAL.has(driver);
}

/** @returns `undefined` when the interface does not support the command */
function ifSupported<T>(command: () => T): T | undefined {
  try {
    return command();
  } catch (error) {
    if (error instanceof SysError && error.errno === Errno.EOPNOTSUPP) return undefined;
    throw error;
  }
}

/**
 * @throws {UnsuitableError} when the external interface is no Ethernet interface, as the programs require
 * @throws {SysError} ENODEV when there is none
 */
export function requireEthernet({ netlink, external }: BackendContext): void {
  const link = netlink.linkByIndex(external.index);
  if (link === undefined) {
    throw new SysError("RTM_GETLINK", Errno.ENODEV, { subject: external.name });
  }
  if (link.mac === undefined) {
    throw new UnsuitableError(`${external.name} is not an Ethernet interface`);
  }
}
