import type { Prefix } from "../../mod/ip/mod.ts";
import type { Lease } from "../../mod/lease/mod.ts";
import type { InterfaceAddress, Route } from "../../mod/sys/mod.ts";
import { type KernelObjects, RTPROT_FLANNEL } from "../reconcile.ts";
import { RT_SCOPE_LINK, RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";
import { deviceAddress } from "../reconciled/device.ts";

/** The objects of the TUN device. */
export interface DeviceObjects extends KernelObjects {
  readonly addresses: readonly [InterfaceAddress];
  readonly routes: readonly [Route];
}

/**
 * Builds the device's objects: one address, the lease's base as /32, and one route to the whole network, as newer
 * flannel does. flannel 0.7.1 gave the address the network's prefix length, whose connected route overlaps
 * docker0's. The data path's table has the holder of each subnet.
 */
export function deviceObjects(own: Lease, network: Prefix, device: number): DeviceObjects {
  return {
    addresses: [deviceAddress(own, device)],
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
