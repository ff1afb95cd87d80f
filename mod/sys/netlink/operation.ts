import { formatIPv4 } from "../../ip/mod.ts";
import { RTM_DELADDR, RTM_NEWADDR, writeAddress } from "./objects/address.ts";
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST } from "./wire/message.ts";
import type { MessageWriter } from "./wire/message_writer.ts";
import { RTM_DELNEIGH, RTM_NEWNEIGH, writeFdbEntry, writeNeighbour } from "./objects/neighbour.ts";
import { RTM_DELROUTE, RTM_NEWROUTE, writeRoute } from "./objects/route.ts";
import type { Operation } from "./wire/types.ts";

const FLAGS = {
  add: NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
  replace: NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE,
  delete: NLM_F_REQUEST,
};

/**
 * Writes the request that carries an operation out.
 *
 * @throws {RangeError} when a MAC is none
 */
export function writeOperation(
  writer: MessageWriter,
  sequence: number,
  operation: Operation,
): void {
  const flags = FLAGS[operation.op];
  const deletion = operation.op === "delete";
  switch (operation.kind) {
    case "route":
      return writeRoute(
        writer,
        deletion ? RTM_DELROUTE : RTM_NEWROUTE,
        flags,
        sequence,
        operation.object,
      );
    case "neighbour":
      return writeNeighbour(
        writer,
        deletion ? RTM_DELNEIGH : RTM_NEWNEIGH,
        flags,
        sequence,
        operation.object,
      );
    case "fdb":
      return writeFdbEntry(
        writer,
        deletion ? RTM_DELNEIGH : RTM_NEWNEIGH,
        flags,
        sequence,
        operation.object,
      );
    case "address":
      return writeAddress(
        writer,
        deletion ? RTM_DELADDR : RTM_NEWADDR,
        flags,
        sequence,
        operation.object,
      );
  }
}

const REQUESTS = {
  route: "ROUTE",
  neighbour: "NEIGH",
  fdb: "NEIGH",
  address: "ADDR",
};

/** The request's name in linux/rtnetlink.h. */
export function requestName(operation: Operation): string {
  return `RTM_${operation.op === "delete" ? "DEL" : "NEW"}${REQUESTS[operation.kind]}`;
}

/** The object as iproute2 would name it, interfaces by index. */
export function describeObject(operation: Operation): string {
  switch (operation.kind) {
    case "route": {
      const { destination, gateway, oif } = operation.object;
      const via = gateway === undefined ? "" : ` via ${formatIPv4(gateway)}`;
      return `${destination}${via} on interface ${oif}`;
    }
    case "neighbour": {
      const { address, mac, index } = operation.object;
      return `${formatIPv4(address)} lladdr ${mac} on interface ${index}`;
    }
    case "fdb": {
      const { mac, destination, index } = operation.object;
      const dst = destination === undefined ? "" : ` dst ${formatIPv4(destination)}`;
      return `${mac}${dst} on interface ${index}`;
    }
    case "address": {
      const { address, prefixLength, index } = operation.object;
      return `${formatIPv4(address)}/${prefixLength} on interface ${index}`;
    }
  }
}
