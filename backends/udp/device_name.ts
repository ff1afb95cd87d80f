import type { IPv4 } from "../../mod/ip/mod.ts";
import type { Link, Netlink } from "../../mod/sys/mod.ts";
import type { BackendContext } from "../backend.ts";
import { servedBy } from "../managed.ts";
import { RT_TABLE_MAIN, RTPROT_KERNEL } from "../../mod/sys/linux_constants.ts";

/** flannel's pattern `flannel%d`. */
const NAME = /^flannel(\d{1,5})$/;

/** IFF_LOWER_UP of linux/if.h: a TUN device has a carrier while a process holds it. */
const IFF_LOWER_UP = 0x10000;

/** Devices of this process's networks. */
const taken = new Set<string>();

/** Number of a device of the udp backend, such as 0 for `flannel0`; `undefined` for another name. */
export function udpDeviceNumber(name: string): number | undefined {
  const digits = NAME.exec(name)?.[1];
  // The kernel writes no leading zeros.
  return digits === undefined || digits !== String(Number(digits)) ? undefined : Number(digits);
}

/**
 * Returns the device name for a network: the device that carries it already, else the first free number, as the
 * kernel chooses for flannel's pattern. A device is free when no process holds it and it has no address or
 * route: an agent left it that ended before it had a lease. An unheld `flannel0` is free in any state when no
 * other network can have left it.
 *
 * @param tried names of devices that other processes hold
 */
export function chooseDevice(
  netlink: Netlink,
  context: Pick<BackendContext, "config" | "formerNetworks" | "besideOthers">,
  tried: ReadonlySet<string>,
): string {
  const links = new Map(netlink.links().map((link) => [link.name, link]));
  const isFree = (name: string) => !taken.has(name) && !tried.has(name);
  const serves = servedBy(context);
  for (const link of links.values()) {
    if (link.kind !== "tun" || udpDeviceNumber(link.name) === undefined) continue;
    if (isFree(link.name) && carried(netlink, link).some(serves)) return link.name;
  }
  for (let number = 0;; number++) {
    const name = `flannel${number}`;
    if (!isFree(name)) continue;
    const link = links.get(name);
    if (link === undefined) return name;
    if (link.kind !== "tun" || isHeld(link)) continue;
    const isAlone = number === 0 && !(context.besideOthers ?? false);
    if (isAlone || carried(netlink, link).length === 0) return name;
  }
}

/** Returns whether a process holds a TUN device. */
export function isHeld(link: Link | undefined): boolean {
  return link !== undefined && (link.flags & IFF_LOWER_UP) !== 0;
}

/** Reserves a device name among the networks of this process. */
export function takeDevice(name: string): void {
  taken.add(name);
}

/** Releases a device name. */
export function leaveDevice(name: string): void {
  taken.delete(name);
}

/** Addresses of a device, and destinations of its routes, other than the kernel's own. */
function carried(netlink: Netlink, { index }: Link): IPv4[] {
  return [
    ...netlink.addresses({ index }).map(({ address }) => address),
    ...netlink.routes({ table: RT_TABLE_MAIN, oif: index })
      .filter(({ protocol }) => protocol !== RTPROT_KERNEL)
      .map(({ destination }) => destination.address),
  ];
}
