/**
 * Selects the kernel objects that flanneld manages.
 *
 * @module
 */
import type { IPv4 } from "../mod/ip/mod.ts";
import type { Netlink, Route } from "../mod/sys/mod.ts";
import type { BackendContext } from "./backend.ts";
import { execute } from "./execute.ts";
import { type KernelObjects, RTPROT_FLANNEL } from "./reconcile.ts";
import { RT_TABLE_MAIN, RTPROT_KERNEL } from "../mod/sys/linux_constants.ts";

/** Networks of this host. */
export type ServedNetworks = Pick<BackendContext, "config" | "formerNetworks">;

/** Returns a test for addresses in the network that is served, or in one served before. */
export function servedBy({ config, formerNetworks }: ServedNetworks): (address: IPv4) => boolean {
  const networks = [config.network, ...formerNetworks];
  return (address) => networks.some((network) => network.contains(address));
}

/**
 * Returns a test for routes of the main table that a backend replaces or removes: all routes on its own device,
 * of any destination and origin, and on every device the routes that flanneld made into a network that it
 * serves or served, with any backend. Routes of protocol 102 into other
 * networks belong to other agents of this host. The kernel removes its own routes with their addresses. An
 * exception is the route to the whole network of flannel 0.7.1's address, because it has the key of udp's
 * route.
 *
 * @param device index of the backend's own device; `undefined` where it has none
 */
export function managesRoute(
  networks: ServedNetworks,
  device: number | undefined,
): (route: Pick<Route, "oif" | "protocol" | "destination">) => boolean {
  const serves = servedBy(networks);
  const { network } = networks.config;
  return ({ oif, protocol, destination }) =>
    oif === device
      ? protocol !== RTPROT_KERNEL || destination.equals(network)
      : protocol === RTPROT_FLANNEL && serves(destination.address);
}

/** Reads the addresses of a device and the routes that {@linkcode managesRoute} names. */
export function readManaged(
  netlink: Netlink,
  networks: ServedNetworks,
  device: number,
): KernelObjects {
  return {
    addresses: netlink.addresses({ index: device }),
    neighbours: [],
    fdb: [],
    routes: netlink.routes({ table: RT_TABLE_MAIN, withRefusing: true })
      .filter(managesRoute(networks, device)),
  };
}

/**
 * Removes the routes of backends that carried the network before, for a backend that makes none.
 *
 * @returns how many routes the kernel did not remove
 */
export function removeManagedRoutes(
  { netlink, ...networks }: ServedNetworks & Pick<BackendContext, "netlink">,
): number {
  const stale = netlink.routes({ table: RT_TABLE_MAIN, protocol: RTPROT_FLANNEL })
    .filter(managesRoute(networks, undefined));
  return execute(
    netlink,
    stale.map((object) => ({ op: "delete", kind: "route", object })),
    "sync",
  );
}
