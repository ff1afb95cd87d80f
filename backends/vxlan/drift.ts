import { formatIPv4 } from "../../mod/ip/mod.ts";
import type { InterfaceAddress, KernelEvent, Link } from "../../mod/sys/mod.ts";
import { sameNeighbour, sameRoute } from "../reconcile.ts";
import type { PeerIndex } from "./peer_index.ts";
import { IFF_UP, NUD_PERMANENT, RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";

/** What is ours in the kernel. */
export interface OwnState {
  readonly device: Link;
  readonly address: InterfaceAddress;
  readonly peers: PeerIndex;
}

/**
 * What of ours an event says was taken away or altered; `undefined` when nothing was.
 *
 * Our own changes are reported too: they agree with the index, which is updated before the kernel
 * is, and so are no drift. Cost: one or two map look-ups.
 */
export function drift(event: KernelEvent, own: OwnState): string | undefined {
  const { device, peers } = own;
  switch (event.type) {
    case "overrun":
      return "kernel events were lost";
    case "link-removed":
      return event.link.index === device.index ? `device ${device.name} removed` : undefined;
    case "link":
      if (event.link.index !== device.index) return undefined;
      if ((event.link.flags & IFF_UP) === 0) return `device ${device.name} set down`;
      if (event.link.mtu !== device.mtu) return `MTU of ${device.name} altered`;
      return event.link.mac === device.mac ? undefined : `MAC of ${device.name} altered`;
    case "address-removed":
      return event.address.index === device.index && event.address.address === own.address.address
        ? `address of ${device.name} removed`
        : undefined;
    case "route":
    case "route-removed": {
      const want = peers.get(event.route.destination)?.route;
      if (want === undefined || event.route.table !== RT_TABLE_MAIN) return undefined;
      if (event.route.metric !== want.metric) return undefined;
      const same = sameRoute(event.route, want);
      // An other route's removal uncovers ours; our own must come back.
      return same === (event.type === "route-removed")
        ? `route to ${want.destination} ${same ? "removed" : "altered"}`
        : undefined;
    }
    case "neighbour":
    case "neighbour-removed": {
      if (event.neighbour.index !== device.index) return undefined;
      const { address } = event.neighbour;
      const want = peers.neighbour(address);
      if (want === undefined) return undefined;
      if (event.type === "neighbour" && sameNeighbour(event.neighbour, want)) return undefined;
      return `neighbour ${formatIPv4(address)} removed or altered`;
    }
    case "fdb":
    case "fdb-removed": {
      if (event.entry.index !== device.index) return undefined;
      const want = peers.vtep(event.entry.mac);
      if (want === undefined) return undefined;
      const same = want.destination === event.entry.destination &&
        event.entry.state === NUD_PERMANENT;
      return same === (event.type === "fdb-removed")
        ? `FDB entry ${want.mac} ${same ? "removed" : "altered"}`
        : undefined;
    }
    default:
      return undefined;
  }
}
