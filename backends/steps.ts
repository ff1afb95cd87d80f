/**
 * The objects on a packet's way, as `flanneld explain` shows them.
 *
 * @module
 */
import type { ExternalInterface } from "../mod/host/mod.ts";
import { formatIPv4, type IPv4 } from "../mod/ip/mod.ts";
import { type Netlink, type Route, SysError } from "../mod/sys/mod.ts";
import { describeRoute } from "./describe.ts";
import { IFF_UP, RT_TABLE_MAIN } from "../mod/sys/linux_constants.ts";

/** One object on a packet's way. */
export interface Step {
  /**
   * `lease`, `route`, `device`, `neighbour`, `fdb`, `encapsulation`, `path`, `underlay`,
   * `forwarding`, `firewall`, `masquerade`; and the outcome of probes: `outbound`, `inbound`, `tunnel`, or
   * `trace` when none could be sent; at last `answer`, of the address itself.
   */
  readonly object: string;
  /** As it is. */
  readonly text: string;
  /** The problem; absent when there is none. */
  readonly wrong?: string;
  /** Commands that put it right, in order. */
  readonly fix?: readonly string[];
}

/** Returns the route of the main table that the kernel takes: the longest prefix, then the lowest metric. */
export function routeOf(netlink: Netlink, address: IPv4): Route | undefined {
  return netlink.routes({ table: RT_TABLE_MAIN })
    .filter(({ destination }) => destination.contains(address))
    .sort((a, b) => b.destination.length - a.destination.length || a.metric - b.metric)[0];
}

/** Returns the name of an interface. */
export function nameOfInterface(netlink: Netlink, index: number): string {
  return netlink.linkByIndex(index)?.name ?? `interface ${index}`;
}

/**
 * Returns the route to an address, and whether it is the expected one.
 *
 * @param device name of the interface that it should lead to. @default any
 * @param gateway that it should lead to, by that interface. @default any
 */
export function routeStep(
  netlink: Netlink,
  address: IPv4,
  { device, gateway }: { readonly device?: string; readonly gateway?: IPv4 | undefined } = {},
): Step {
  const route = routeOf(netlink, address);
  if (route === undefined) {
    return { object: "route", text: "none", wrong: `no route leads to ${formatIPv4(address)}` };
  }
  const name = nameOfInterface(netlink, route.oif);
  const text = describeRoute(route, (index) => nameOfInterface(netlink, index))
    .replace(/^route /, "");
  if (device !== undefined && name !== device) {
    return { object: "route", text, wrong: `the route leads to ${name}, and not to ${device}` };
  }
  if (gateway === undefined || route.gateway === gateway) return { object: "route", text };
  return { object: "route", text, wrong: `the route does not lead to host ${formatIPv4(gateway)}` };
}

/** Returns the device, and whether it is up and has the right MTU. @param mtu in bytes */
export function deviceStep(netlink: Netlink, device: string, mtu: number): Step {
  const link = netlink.link(device);
  if (link === undefined) {
    return { object: "device", text: "none", wrong: `there is no device ${device}` };
  }
  const isUp = (link.flags & IFF_UP) !== 0;
  const text = `${device} mtu ${link.mtu} ${isUp ? "up" : "down"}`;
  if (!isUp) return { object: "device", text, wrong: `${device} is down` };
  if (link.mtu === mtu) return { object: "device", text };
  return { object: "device", text, wrong: `the MTU of ${device} is ${link.mtu}, and not ${mtu}` };
}

/** Returns the encapsulation of packets to a host. */
export function encapsulationStep(
  type: string,
  { address }: ExternalInterface,
  publicIP: IPv4,
  { mtu, ...tunnel }: { readonly mtu: number; readonly protocol: number; readonly port?: number },
): Step {
  return {
    object: "encapsulation",
    text: `${type}, from ${formatIPv4(address)} to ${formatIPv4(publicIP)}, ` +
      `${carrierOf(tunnel)}, MTU ${mtu}`,
  };
}

/** Returns the packets that carry a network's: `UDP port 8472`, `IP protocol 4`. */
export function carrierOf(
  { protocol, port }: { readonly protocol?: number; readonly port?: number },
): string {
  return port === undefined ? `IP protocol ${protocol}` : `UDP port ${port}`;
}

/** Returns the way of outer packets, to a host's public address. */
export function underlayStep(
  netlink: Netlink,
  external: ExternalInterface,
  publicIP: IPv4,
): Step {
  const address = formatIPv4(publicIP);
  const route = routeTo(netlink, publicIP);
  if (route === undefined) {
    return { object: "underlay", text: "none", wrong: `no route leads to host ${address}` };
  }
  const name = nameOfInterface(netlink, route.oif);
  const text = address + (route.gateway === undefined ? "" : ` via ${formatIPv4(route.gateway)}`) +
    ` dev ${name} src ${formatIPv4(route.source)} mtu ${
      netlink.linkByIndex(route.oif)?.mtu ?? "unknown"
    }`;
  if (name === external.name) return { object: "underlay", text };
  return {
    object: "underlay",
    text,
    wrong: `host ${address} is reached by ${name}, and not by ${external.name}`,
  };
}

/** Returns where the kernel would send to an address; `undefined`: nowhere. */
export function routeTo(
  netlink: Netlink,
  address: IPv4,
): ReturnType<Netlink["routeTo"]> | undefined {
  try {
    return netlink.routeTo(address);
  } catch (error) {
    if (error instanceof SysError) return undefined;
    throw error;
  }
}
