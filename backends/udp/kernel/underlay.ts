import type { BackendContext } from "../../backend.ts";
import { UnsuitableError } from "./errors.ts";
import { Arena, closeDescriptor, errno, libc, SysError, unwrap } from "../../../mod/sys/mod.ts";

/** linux/sockios.h, linux/ethtool.h. */
const SIOCETHTOOL = 0x8946;
const ETHTOOL_GDRVINFO = 0x03;
const ETHTOOL_GTXCSUM = 0x16;
/** struct ethtool_drvinfo: u32 cmd, then driver[32], version[32], fw_version[32], bus_info[32], ... */
const DRVINFO_LENGTH = 196;
const DRIVER = 4;
const BUS_INFO = 100;
const TEXT = 32;
/** linux/if.h */
const IFNAMSIZ = 16;
const IFREQ = 40;
/** socket(2): AF_INET, SOCK_DGRAM | SOCK_CLOEXEC. */
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;

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
  const info = ethtool(name, ETHTOOL_GDRVINFO, DRVINFO_LENGTH);
  const checksum = ethtool(name, ETHTOOL_GTXCSUM, 8);
  const text = (at: number) => {
    if (info === undefined) return "";
    const bytes = info.subarray(at, at + TEXT);
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  };
  return {
    driver: text(DRIVER),
    bus: text(BUS_INFO),
    // Who does not answer is taken for the worse case.
    partialChecksums: checksum === undefined || checksum[4] !== 0,
  };
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
function ethtool(name: string, command: number, length: number): Uint8Array | undefined {
  using arena = new Arena();
  const value = arena.allocate(length);
  value.view.setUint32(0, command, true);
  const request = arena.allocate(IFREQ);
  request.bytes.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
  request.view.setBigUint64(IFNAMSIZ, value.address, true);
  const fd = unwrap("socket", libc().socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0));
  try {
    if (libc().ioctl(fd, SIOCETHTOOL, request.bytes) === 0) return value.bytes.slice();
    const error = new SysError("SIOCETHTOOL", errno(), { subject: name });
    if (error.code === "EOPNOTSUPP") return undefined;
    throw error;
  } finally {
    closeDescriptor(fd);
  }
}

/** @throws {UnsuitableError} when programs cannot be on the external interface */
export function requireEthernet({ netlink, external }: BackendContext): void {
  if (netlink.linkByIndex(external.index)?.mac === undefined) {
    throw new UnsuitableError(`${external.name} is not an Ethernet interface`);
  }
}
