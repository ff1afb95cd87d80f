import type { IPv4, Prefix } from "../../mod/ip/mod.ts";
import type { Lease } from "../../mod/lease/mod.ts";
import type { InterfaceAddress, Netlink, Route } from "../../mod/sys/mod.ts";
import {
  IFA_F_PERMANENT,
  type KernelObjects,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTPROT_FLANNEL,
  RTPROT_KERNEL,
} from "../reconcile.ts";

/** RT_SCOPE_LINK of linux/rtnetlink.h: the destination is reached without a gateway. */
const RT_SCOPE_LINK = 253;

/** The objects of the TUN device. */
export interface DeviceObjects extends KernelObjects {
  readonly addresses: readonly [InterfaceAddress];
  readonly routes: readonly [Route];
}

/**
 * One address, the lease's base as /32, and one route for the whole network, as newer flannel: 0.7.1
 * gave the address the network's length, whose connected route overlaps docker0's. Which host a
 * packet goes to is the data path's table.
 */
export function deviceObjects(own: Lease, network: Prefix, device: number): DeviceObjects {
  return {
    addresses: [{
      index: device,
      address: own.subnet.address,
      prefixLength: 32,
      scope: RT_SCOPE_UNIVERSE,
      flags: IFA_F_PERMANENT,
    }],
    neighbours: [],
    fdb: [],
    routes: [{
      destination: network,
      oif: device,
      onlink: false,
      protocol: RTPROT_FLANNEL,
      scope: RT_SCOPE_LINK,
      table: RT_TABLE_MAIN,
      metric: 0,
    }],
  };
}

/**
 * Addresses and routes on the device that lie in a network we serve or served, and routes with our
 * protocol number to the one that is served. The kernel's own routes go with their addresses; the one
 * that flannel 0.7.1's address brought has the key of ours, which takes its place.
 *
 * @param networks the one that is served comes first
 */
export function actualObjects(
  netlink: Netlink,
  device: number,
  networks: readonly [Prefix, ...Prefix[]],
): KernelObjects {
  const serves = (address: IPv4) => networks.some((network) => network.contains(address));
  const [network] = networks;
  return {
    addresses: netlink.addresses({ index: device }).filter(({ address }) => serves(address)),
    neighbours: [],
    fdb: [],
    routes: netlink.routes({ table: RT_TABLE_MAIN, withRefusing: true })
      .filter(({ destination, oif, protocol }) =>
        network.equals(destination)
          ? oif === device || protocol === RTPROT_FLANNEL
          : oif === device && protocol !== RTPROT_KERNEL && serves(destination.address)
      ),
  };
}
