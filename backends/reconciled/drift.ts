import { formatIPv4 } from "../../mod/ip/mod.ts";
import type { InterfaceAddress, KernelEvent, Link, Netlink } from "../../mod/sys/mod.ts";
import { sameNeighbour, sameRoute } from "../reconcile.ts";
import { isLinkRoute } from "./direct_peers.ts";
import type { PeerIndex } from "./peer_index.ts";
import { IFF_UP, NUD_PERMANENT, RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";

/** The kernel objects of a network. */
export interface OwnState {
  /** The network's own device and its address; absent where it has none. */
  readonly device?: { readonly link: Link; readonly address: InterfaceAddress } | undefined;
  readonly peers: PeerIndex;
}

/**
 * Returns which object of the network an event reports as removed or altered; `undefined` when none.
 *
 * Events of the agent's own changes agree with the index, which is updated before the kernel is, and so are no
 * drift. Cost: one or two map look-ups.
 */
export function drift(event: KernelEvent, { device, peers }: OwnState): string | undefined {
  switch (event.type) {
    case "overrun":
      return "kernel events were lost";
    case "link":
    case "link-removed":
      return device && linkDrift(event, device.link);
    case "address-removed":
      return event.address.index === device?.link.index &&
          event.address.address === device.address.address
        ? `address of ${device.link.name} removed`
        : undefined;
    case "route":
    case "route-removed": {
      const want = peers.get(event.route.destination)?.route;
      if (want === undefined || event.route.table !== RT_TABLE_MAIN) return undefined;
      if (event.route.metric !== want.metric) return undefined;
      const same = sameRoute(event.route, want);
      // Another route's removal uncovers the network's; the network's own must come back.
      return same === (event.type === "route-removed")
        ? `route to ${want.destination} ${same ? "removed" : "altered"}`
        : undefined;
    }
    case "neighbour":
    case "neighbour-removed": {
      const { index, address } = event.neighbour;
      const want = index === device?.link.index ? peers.neighbour(address) : undefined;
      if (want === undefined) return undefined;
      if (event.type === "neighbour" && sameNeighbour(event.neighbour, want)) return undefined;
      return `neighbour ${formatIPv4(address)} removed or altered`;
    }
    case "fdb":
    case "fdb-removed": {
      const { index, mac, destination, state } = event.entry;
      const want = index === device?.link.index ? peers.vtep(mac) : undefined;
      if (want === undefined) return undefined;
      const same = want.destination === destination && state === NUD_PERMANENT;
      return same === (event.type === "fdb-removed")
        ? `FDB entry ${want.mac} ${same ? "removed" : "altered"}`
        : undefined;
    }
    default:
      return undefined;
  }
}

/**
 * As {@linkcode drift}, by the device's present state: a device that was just created was down for a moment, and the
 * kernel reports the objects of a deleted device before the device.
 *
 * @param more reports further changes. @default none
 */
export function damage(
  event: KernelEvent,
  own: OwnState,
  netlink: Pick<Netlink, "linkByIndex">,
  more: (event: KernelEvent) => string | undefined = () => undefined,
): string | undefined {
  const report = drift(event, own) ?? more(event);
  if (report === undefined || own.device === undefined) return report;
  const { index, name } = own.device.link;
  const link = netlink.linkByIndex(index);
  if (link === undefined) return `device ${name} removed`;
  return event.type === "link" ? drift({ ...event, link }, own) ?? more(event) : report;
}

function linkDrift(
  { type, link }: Extract<KernelEvent, { readonly link: Link }>,
  { index, name, mtu, mac }: Link,
): string | undefined {
  if (link.index !== index) return undefined;
  if (type === "link-removed") return `device ${name} removed`;
  if ((link.flags & IFF_UP) === 0) return `device ${name} set down`;
  if (link.mtu !== mtu) return `MTU of ${name} altered`;
  return link.mac === mac ? undefined : `MAC of ${name} altered`;
}

/**
 * Reports changes of the external interface that routes by it depend on.
 *
 * An interface that goes down, or loses its last address, loses its routes without an event of the kernel; they can
 * be added again once it is up and has its own network, which are events.
 */
export class ExternalDrift {
  readonly #external: Pick<Link, "index" | "name">;
  #isDown = false;

  constructor(external: Pick<Link, "index" | "name">) {
    this.#external = external;
  }

  /** Returns what an event changed; `undefined` when nothing. */
  report(event: KernelEvent): string | undefined {
    const { index, name } = this.#external;
    switch (event.type) {
      case "link": {
        if (event.link.index !== index) return undefined;
        const wasDown = this.#isDown;
        this.#isDown = (event.link.flags & IFF_UP) === 0;
        return wasDown && !this.#isDown ? `${name} came back, its routes did not` : undefined;
      }
      case "route":
      case "route-removed": {
        const { route } = event;
        if (route.table !== RT_TABLE_MAIN || route.oif !== index) return undefined;
        return isLinkRoute(route)
          ? `${name} is ${event.type === "route" ? "now" : "no longer"} on ${route.destination}`
          : undefined;
      }
      default:
        return undefined;
    }
  }
}
