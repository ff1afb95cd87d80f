/**
 * RTM_*ROUTE of IPv4: struct rtmsg and RTA_* (linux/rtnetlink.h).
 *
 * @module
 */
import type { IPv4 } from "../../../ip/mod.ts";
import { AttributeCursor, type MessageCursor, readPrefix } from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";
import type { Route } from "../wire/types.ts";
import { AF_INET } from "../../linux_constants.ts";

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;

/**
 * struct rtmsg: u8 family, u8 destination length, u8 source length, u8 TOS, u8 table, u8 protocol,
 * u8 scope, u8 type, u32 flags.
 */
const RTMSG_LENGTH = 12;

export const RTA_DST = 1;
export const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
export const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;

/** Of a query: routes of any type. */
const RTN_UNSPEC = 0;
const RTN_UNICAST = 1;
/** Blackhole, unreachable and prohibit: routes that lead nowhere. */
const RTN_REFUSING = [6, 7, 8];
/** rtm_flags and rtnh_flags share the low bits. */
const RTNH_F_ONLINK = 4;
/** A cached exception (path MTU, redirect), no route of the table. */
export const RTM_F_CLONED = 0x200;

/** Which routes {@linkcode writeRouteQuery} and {@linkcode readRoute} let through. */
export interface RouteFilter {
  /** RT_TABLE_*. */
  readonly table?: number | undefined;
  /** Index of the output interface. */
  readonly oif?: number | undefined;
  /** RTPROT_*. */
  readonly protocol?: number | undefined;
  /**
   * Also blackhole, unreachable and prohibit routes, which have interface 0.
   *
   * @default false
   */
  readonly withRefusing?: boolean;
}

/** How the kernel would send to an address. */
export interface RouteLookup {
  /** Index of the output interface. */
  readonly oif: number;
  /** Address that the kernel would send from. */
  readonly source: IPv4;
  /** Next hop; absent when the destination is a neighbour, or local. */
  readonly gateway?: IPv4;
}

/** Asks for the unicast routes that pass the filter. */
export function writeRouteQuery(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  filter: RouteFilter,
): void {
  const type = filter.withRefusing ? RTN_UNSPEC : RTN_UNICAST;
  writer.begin(RTM_GETROUTE, flags, sequence);
  writeHeader(writer, 0, filter.table ?? 0, filter.protocol ?? 0, 0, type, 0);
  if (filter.table !== undefined) writer.attributeU32(RTA_TABLE, filter.table);
  if (filter.oif !== undefined) writer.attributeU32(RTA_OIF, filter.oif);
  writer.end();
}

/** Asks how the kernel would send to an address. */
export function writeRouteLookup(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  address: IPv4,
): void {
  writer.begin(RTM_GETROUTE, flags, sequence);
  writeHeader(writer, 32, 0, 0, 0, 0, 0);
  writer.attributeIPv4(RTA_DST, address);
  writer.end();
}

/**
 * Writes an RTM_NEWROUTE or RTM_DELROUTE. A deletion removes the route that matches in every given field;
 * scope RT_SCOPE_NOWHERE (255) matches any.
 */
export function writeRoute(
  writer: MessageWriter,
  type: number,
  flags: number,
  sequence: number,
  route: Route,
): void {
  const { destination, onlink, protocol, scope, table } = route;
  writer.begin(type, flags, sequence);
  writeHeader(
    writer,
    destination.length,
    table,
    protocol,
    scope,
    RTN_UNICAST,
    onlink ? RTNH_F_ONLINK : 0,
  );
  // In the order of iproute2, so that the two can be compared.
  if (destination.length !== 0) writer.attributeIPv4(RTA_DST, destination.address);
  if (route.gateway !== undefined) writer.attributeIPv4(RTA_GATEWAY, route.gateway);
  if (route.source !== undefined) writer.attributeIPv4(RTA_PREFSRC, route.source);
  if (route.metric !== 0) writer.attributeU32(RTA_PRIORITY, route.metric);
  if (table > 255) writer.attributeU32(RTA_TABLE, table);
  if (route.oif !== 0) writer.attributeU32(RTA_OIF, route.oif);
  writer.end();
}

function writeHeader(
  writer: MessageWriter,
  length: number,
  table: number,
  protocol: number,
  scope: number,
  type: number,
  flags: number,
): void {
  writer.u8(AF_INET);
  writer.u8(length);
  writer.u8(0); // source length
  writer.u8(0); // TOS
  writer.u8(table > 255 ? 0 : table); // RT_TABLE_UNSPEC: see RTA_TABLE
  writer.u8(protocol);
  writer.u8(scope);
  writer.u8(type);
  writer.u32(flags);
}

/**
 * Reads an RTM_NEWROUTE or RTM_DELROUTE. Of several next hops it returns the first.
 *
 * @param filter is applied here too: older kernels ignore it
 * @returns `undefined` when it is no IPv4 unicast route, or the filter rejects it
 */
export function readRoute(message: MessageCursor, filter?: RouteFilter): Route | undefined {
  const type = message.view.getUint8(message.fixedPart(RTMSG_LENGTH) + 7);
  const passes = type === RTN_UNICAST || (filter?.withRefusing && RTN_REFUSING.includes(type));
  return passes ? readAnyRoute(message, filter) : undefined;
}

/**
 * As {@linkcode readRoute}, but reads routes that lead nowhere too, with interface 0: when such a route
 * replaces a unicast route, it is the only event of that route's removal.
 */
export function readRouteEvent(message: MessageCursor): Route | undefined {
  const type = message.view.getUint8(message.fixedPart(RTMSG_LENGTH) + 7);
  return type === RTN_UNICAST || RTN_REFUSING.includes(type) ? readAnyRoute(message) : undefined;
}

function readAnyRoute(message: MessageCursor, filter?: RouteFilter): Route | undefined {
  const { view } = message;
  const start = message.fixedPart(RTMSG_LENGTH);
  const flags = view.getUint32(start + 8, true);
  if (view.getUint8(start) !== AF_INET || (flags & RTM_F_CLONED) !== 0) return undefined;
  const protocol = view.getUint8(start + 5);
  if (filter?.protocol !== undefined && protocol !== filter.protocol) return undefined;
  const nextHop: NextHop = {
    destination: 0,
    table: view.getUint8(start + 4),
    oif: 0,
    metric: 0,
    flags,
    gateway: undefined,
    source: undefined,
  };
  readAttributes(message, nextHop);
  if (filter?.oif !== undefined && nextHop.oif !== filter.oif) return undefined;
  if (filter?.table !== undefined && nextHop.table !== filter.table) return undefined;
  const route: Writable<Route> = {
    destination: readPrefix(nextHop.destination, view.getUint8(start + 1)),
    oif: nextHop.oif,
    onlink: (nextHop.flags & RTNH_F_ONLINK) !== 0,
    protocol,
    scope: view.getUint8(start + 6),
    table: nextHop.table,
    metric: nextHop.metric,
  };
  if (nextHop.gateway !== undefined) route.gateway = nextHop.gateway;
  if (nextHop.source !== undefined) route.source = nextHop.source;
  return route;
}

/** Reads the answer to {@linkcode writeRouteLookup}. */
export function readRouteLookup(message: MessageCursor): RouteLookup {
  const nextHop: NextHop = {
    destination: 0,
    table: 0,
    oif: 0,
    metric: 0,
    flags: 0,
    gateway: undefined,
    source: undefined,
  };
  readAttributes(message, nextHop);
  const lookup = { oif: nextHop.oif, source: nextHop.source ?? 0 };
  return nextHop.gateway === undefined ? lookup : { ...lookup, gateway: nextHop.gateway };
}

interface NextHop {
  destination: IPv4;
  table: number;
  oif: number;
  metric: number;
  flags: number;
  gateway: IPv4 | undefined;
  source: IPv4 | undefined;
}

function readAttributes(message: MessageCursor, nextHop: NextHop): void {
  const { view } = message;
  const attributes = ATTRIBUTES.enter(view, message.bodyStart + RTMSG_LENGTH, message.bodyEnd);
  while (attributes.next()) {
    switch (attributes.type) {
      case RTA_DST:
        nextHop.destination = attributes.ipv4();
        break;
      case RTA_OIF:
        nextHop.oif = attributes.u32();
        break;
      case RTA_GATEWAY:
        nextHop.gateway = attributes.ipv4();
        break;
      case RTA_PRIORITY:
        nextHop.metric = attributes.u32();
        break;
      case RTA_PREFSRC:
        nextHop.source = attributes.ipv4();
        break;
      case RTA_TABLE:
        nextHop.table = attributes.u32();
        break;
      case RTA_MULTIPATH:
        if (attributes.length >= 8) readFirstNextHop(attributes, nextHop);
        break;
    }
  }
}

/** struct rtnexthop: u16 length, u8 flags, u8 weight - 1, i32 interface index; attributes. */
function readFirstNextHop(attributes: AttributeCursor, nextHop: NextHop): void {
  const { view, offset } = attributes;
  const length = Math.min(view.getUint16(offset, true), attributes.length);
  nextHop.flags |= view.getUint8(offset + 2);
  nextHop.oif = view.getUint32(offset + 4, true);
  const inner = new AttributeCursor().enter(view, offset + 8, offset + length);
  while (inner.next()) {
    if (inner.type === RTA_GATEWAY) nextHop.gateway = inner.ipv4();
  }
}

/** One for all reads: they are synchronous and end before the next begins. */
const ATTRIBUTES = new AttributeCursor();

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
