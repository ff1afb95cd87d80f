import { formatIPv4, type IPv4, isGlobalUnicast, isLinkLocal } from "../ip/mod.ts";
import type { InterfaceAddress, Link, Route } from "../sys/mod.ts";
import { IFA_F_PERMANENT, IFF_LOOPBACK, IFF_UP } from "../sys/linux_constants.ts";

/** IFA_F_DEPRECATED of linux/if_addr.h: the preferred lifetime is over. */
const IFA_F_DEPRECATED = 0x20;

/** Devices of container engines and overlays, which carry inner packets. */
const INNER = /^(flannel([.-].*|\d+)|docker\d+|br-[0-9a-f]{12}|cni\d+|podman\d+|virbr\d+)$/;

/** Limit of interfaces in one message; a host with containers has hundreds. */
const MOST_NAMED = 12;

/** Kernel tables of this host for the choice of an interface. */
export interface HostTables {
  /** In the kernel's order. */
  readonly links: readonly Link[];
  /** Of all interfaces, in the kernel's order. */
  readonly addresses: readonly InterfaceAddress[];
  /** Main table, in the kernel's order. */
  readonly routes: readonly Route[];
  /** The kernel's route to the address of `-iface-can-reach`; absent without a route. */
  readonly reach?: Pick<Route, "oif" | "source">;
}

/**
 * Returns the addresses of an interface that peers can send to, best first: global before link-local,
 * permanent before dynamic, otherwise in the kernel's order. Leaves out deprecated addresses.
 */
export function usableAddresses(host: HostTables, index: number): IPv4[] {
  const rank = ({ address, flags }: InterfaceAddress) =>
    (isLinkLocal(address) ? 2 : 0) + ((flags & IFA_F_PERMANENT) !== 0 ? 0 : 1);
  return host.addresses
    .filter(({ address, flags, index: of }) =>
      of === index && (flags & IFA_F_DEPRECATED) === 0 &&
      (isGlobalUnicast(address) || isLinkLocal(address))
    )
    .sort((a, b) => rank(a) - rank(b))
    .map(({ address }) => address);
}

/** Returns whether the interface is the loopback device. */
export function isLoopback(link: Link): boolean {
  return (link.flags & IFF_LOOPBACK) !== 0;
}

/** Returns whether the interface is administratively up. */
export function isUp(link: Link): boolean {
  return (link.flags & IFF_UP) !== 0;
}

/**
 * Returns whether an interface can carry packets between hosts: it is up, neither loopback nor a device of a
 * container engine or overlay, and has an address that is not link-local.
 */
export function couldServe(host: HostTables, link: Link): boolean {
  return isUp(link) && !isLoopback(link) && !INNER.test(link.name) &&
    usableAddresses(host, link.index).some(isGlobalUnicast);
}

/** `eth0 (10.0.2.15), eth1 (172.28.128.101), eth2 (down, no IPv4 address), lo (loopback)` */
export function describeLinks(host: HostTables): string {
  if (host.links.length === 0) return "this host has no network interface";
  // Candidates first, so that the limit drops other interfaces.
  const order = (link: Link) => couldServe(host, link) ? 0 : isLoopback(link) ? 2 : 1;
  const links = [...host.links].sort((a, b) => order(a) - order(b));
  const named = links.slice(0, MOST_NAMED).map((link) => describeLink(host, link)).join(", ");
  const more = links.length - MOST_NAMED;
  return `this host has ${named}${more > 0 ? ` and ${more} more` : ""}`;
}

/** `eth1 (172.28.128.101)`, with remarks that disqualify it. */
export function describeLink(host: HostTables, link: Link): string {
  const addresses = host.addresses.filter(({ index }) => index === link.index);
  const remarks = addresses.map(({ address, flags }) =>
    formatIPv4(address) + ((flags & IFA_F_DEPRECATED) !== 0 ? " deprecated" : "")
  );
  if (isLoopback(link)) remarks.push("loopback");
  else {
    if (addresses.length === 0) remarks.push("no IPv4 address");
    if (!isUp(link)) remarks.push("down");
    if (INNER.test(link.name)) remarks.push("for containers");
  }
  return `${link.name} (${remarks.join(", ")})`;
}
