import { readAddress, readIPv6AddressIndex, RTM_DELADDR, RTM_NEWADDR } from "./objects/address.ts";
import { readLink, RTM_DELLINK, RTM_NEWLINK } from "./objects/link.ts";
import type { MessageCursor } from "./wire/message.ts";
import {
  AF_BRIDGE,
  isFdbRequestEcho,
  neighbourFamily,
  readFdbEntry,
  readNeighbour,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from "./objects/neighbour.ts";
import { readRouteEvent, RTM_DELROUTE, RTM_NEWROUTE } from "./objects/route.ts";
import type { KernelEvent } from "./wire/types.ts";

const AF_UNSPEC = 0;

/**
 * Reads a multicast message.
 *
 * @returns `undefined` for events that the project does not use: IPv6 but for new addresses, bridge ports, multicast routes, repeated
 * FDB requests
 */
export function readKernelEvent(message: MessageCursor): KernelEvent | undefined {
  const event: { sender?: number } & KernelEvent | undefined = readChange(message);
  if (event !== undefined && message.port !== 0) event.sender = message.port;
  return event;
}

function readChange(message: MessageCursor): KernelEvent | undefined {
  switch (message.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      // A bridge reports its ports by the same types under its own family: a port that leaves the
      // bridge is "deleted" there.
      if (message.view.getUint8(message.fixedPart(1)) !== AF_UNSPEC) return undefined;
      const link = readLink(message);
      return { type: message.type === RTM_NEWLINK ? "link" : "link-removed", link };
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const index = readIPv6AddressIndex(message);
      if (index !== undefined) {
        return message.type === RTM_NEWADDR ? { type: "ipv6-address", index } : undefined;
      }
      const address = readAddress(message);
      if (address === undefined) return undefined;
      return { type: message.type === RTM_NEWADDR ? "address" : "address-removed", address };
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const route = readRouteEvent(message);
      if (route === undefined) return undefined;
      return { type: message.type === RTM_NEWROUTE ? "route" : "route-removed", route };
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return neighbourFamily(message) === AF_BRIDGE
        ? readFdbEvent(message)
        : readNeighbourEvent(message);
    case RTM_GETNEIGH:
      return neighbourFamily(message) === AF_BRIDGE ? undefined : readNeighbourMiss(message);
    default:
      return undefined;
  }
}

function readFdbEvent(message: MessageCursor): KernelEvent | undefined {
  const entry = readFdbEntry(message);
  if (entry === undefined || isFdbRequestEcho(message)) return undefined;
  return { type: message.type === RTM_NEWNEIGH ? "fdb" : "fdb-removed", entry };
}

function readNeighbourEvent(message: MessageCursor): KernelEvent | undefined {
  const entry = readNeighbour(message);
  if (entry === undefined) return undefined;
  const { index, address, state, mac } = entry;
  // A deletion comes without the MAC, often after a NEWNEIGH in state FAILED.
  return message.type === RTM_DELNEIGH || mac === undefined
    ? { type: "neighbour-removed", neighbour: { index, address } }
    : { type: "neighbour", neighbour: { index, address, mac, state } };
}

/** Returns `undefined` for a request with a MAC, which the kernel confirms itself. */
function readNeighbourMiss(message: MessageCursor): KernelEvent | undefined {
  const entry = readNeighbour(message);
  if (entry === undefined || entry.mac !== undefined) return undefined;
  const { index, address } = entry;
  return { type: "neighbour-miss", neighbour: { index, address } };
}
