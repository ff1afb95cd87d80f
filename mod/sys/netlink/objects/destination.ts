/**
 * Destination prefixes of routing: RTM_*ROUTE and RTM_*RULE of IPv4 (linux/rtnetlink.h,
 * linux/fib_rules.h).
 *
 * @module
 */
import type { IPv4, Prefix } from "../../../ip/mod.ts";
import { AttributeCursor, type MessageCursor, readPrefix } from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";
import { RTA_DST, RTA_MULTIPATH, RTA_OIF, RTM_F_CLONED, RTM_GETROUTE } from "./route.ts";
import { AF_INET } from "../../linux_constants.ts";

export const RTM_NEWRULE = 32;
const RTM_GETRULE = 34;

/** struct rtmsg and struct fib_rule_hdr: family and destination length come first in both. */
const HEADER_LENGTH = 12;

const RTA_NH_ID = 30;
const FRA_DST = 1;

/** A prefix that a route or a rule is for. */
export interface Destination {
  readonly prefix: Prefix;
  /** The route has several interfaces; the kernel chooses one by a hash of the addresses. */
  readonly isMultipath: boolean;
}

/** Asks for the routes of all tables and of every kind. */
export function writeDestinationQuery(
  writer: MessageWriter,
  flags: number,
  sequence: number,
): void {
  writeQuery(writer, RTM_GETROUTE, flags, sequence);
}

/** Requests the rules that select a table. */
export function writeRuleQuery(writer: MessageWriter, flags: number, sequence: number): void {
  writeQuery(writer, RTM_GETRULE, flags, sequence);
}

function writeQuery(writer: MessageWriter, type: number, flags: number, sequence: number): void {
  writer.begin(type, flags, sequence);
  writer.u32(AF_INET);
  writer.u32(0);
  writer.u32(0);
  writer.end();
}

/** Reads the destination of a route. */
export function readDestination(message: MessageCursor): Destination | undefined {
  const { view } = message;
  const start = message.fixedPart(HEADER_LENGTH);
  if (view.getUint8(start) !== AF_INET) return undefined;
  if ((view.getUint32(start + 8, true) & RTM_F_CLONED) !== 0) return undefined;
  let address: IPv4 = 0;
  let hasInterface = false;
  let hasHops = false;
  const attributes = new AttributeCursor().enter(view, start + HEADER_LENGTH, message.bodyEnd);
  while (attributes.next()) {
    switch (attributes.type) {
      case RTA_DST:
        address = attributes.ipv4();
        break;
      case RTA_OIF:
        hasInterface = true;
        break;
      case RTA_MULTIPATH:
      case RTA_NH_ID:
        hasHops = true;
        break;
    }
  }
  return {
    prefix: readPrefix(address, view.getUint8(start + 1)),
    // The kernel names the interface of a nexthop object with a single nexthop.
    isMultipath: hasHops && !hasInterface,
  };
}

/** Reads the destination of a rule; `undefined` when it is for all. */
export function readRule(message: MessageCursor): Destination | undefined {
  const { view } = message;
  const start = message.fixedPart(HEADER_LENGTH);
  const length = view.getUint8(start + 1);
  if (view.getUint8(start) !== AF_INET || length === 0) return undefined;
  const attributes = new AttributeCursor().enter(view, start + HEADER_LENGTH, message.bodyEnd);
  while (attributes.next()) {
    if (attributes.type === FRA_DST) {
      return { prefix: readPrefix(attributes.ipv4(), length), isMultipath: false };
    }
  }
  return undefined;
}
