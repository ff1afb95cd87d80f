import { Errno, SysError } from "../../../mod/sys/ffi/errno.ts";
import { driverInfo, transmitChecksumOffload } from "../../../mod/sys/ethtool.ts";
import type { BackendContext } from "../../backend.ts";
import { UnsuitableError } from "./errors.ts";

/**
 * Drivers of network cards that a hypervisor makes up: its other end may be another guest of the same
 * machine, reached without any wire, with checksums left open.
 */
const PARAVIRTUAL: ReadonlySet<string> = new Set([
  "virtio_net",
  "vmxnet3",
  "hv_netvsc",
  "vif",
  "xen_netfront",
]);

/** What an interface does with packets that are not finished. */
export interface Underlay {
  /** As ethtool names it; empty when the interface tells nothing. */
  readonly driver: string;
  /** Hardware's place on its bus; empty on an interface that is software. */
  readonly bus: string;
  /** The interface takes packets whose checksum is still to be put in. */
  readonly partialChecksums: boolean;
}

/**
 * Asks an interface for its traits, in the network namespace of the calling thread.
 *
 * @throws {SysError} ENODEV when there is none
 */
export function readUnderlay(name: string): Underlay {
  const { driver, bus } = ifAnswered(() => driverInfo(name)) ?? { driver: "", bus: "" };
  // An interface without an answer is taken for the worse case.
  const partialChecksums = ifAnswered(() => transmitChecksumOffload(name)) ?? true;
  return { driver, bus, partialChecksums };
}

/**
 * True when what leaves by an interface is finished: checksums in place, super-packets cut. Then any
 * receiver can take it, flannel's proxy included. Otherwise (veth and its kin hand packets over in memory as they
 * are) only one whose kernel unwraps them and goes on.
 */
export function finishesPackets({ driver, bus, partialChecksums }: Underlay): boolean {
  // Without checksums the kernel itself sums, and cuts, before it hands a packet to the driver.
  if (!partialChecksums) return true;
  return /^[0-9a-f]{4}:|^[0-9]|^(usb|platform)-?/.test(bus) && !PARAVIRTUAL.has(driver);
}

/** @returns `undefined` when the interface has no answer to it */
function ifAnswered<T>(ask: () => T): T | undefined {
  try {
    return ask();
  } catch (error) {
    if (error instanceof SysError && error.errno === Errno.EOPNOTSUPP) return undefined;
    throw error;
  }
}

/** @throws {UnsuitableError} when programs cannot be on the external interface */
export function requireEthernet({ netlink, external }: BackendContext): void {
  if (netlink.linkByIndex(external.index)?.mac === undefined) {
    throw new UnsuitableError(`${external.name} is not an Ethernet interface`);
  }
}
