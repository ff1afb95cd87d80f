/**
 * RTM_*NEIGH: struct ndmsg and NDA_* (linux/neighbour.h). IPv4 neighbours (family AF_INET) and
 * forwarding database entries (family AF_BRIDGE) share one message.
 *
 * @module
 */
import type { IPv4 } from "../../../ip/mod.ts";
import { AttributeCursor, type MessageCursor } from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";
import type { FdbEntry, Mac, Neighbour } from "../wire/types.ts";
import { AF_INET } from "../../linux_constants.ts";

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

export const AF_BRIDGE = 7;

/** struct ndmsg: u8 family, u8 pad, u16 pad, i32 index, u16 state, u8 flags, u8 type. */
const NDMSG_LENGTH = 12;

const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_CACHEINFO = 3;
const NDA_IFINDEX = 8;

/** The entry is in the device's own table, not in that of the bridge it may be a port of. */
const NTF_SELF = 0x2;

/** Asks for the IPv4 neighbours of one interface, or of all (0). */
export function writeNeighbourQuery(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  index: number,
): void {
  writer.begin(RTM_GETNEIGH, flags, sequence);
  // Strict kernels want the filter in the attribute, the header all zeros.
  writeHeader(writer, AF_INET, 0, 0, 0);
  if (index !== 0) writer.attributeU32(NDA_IFINDEX, index);
  writer.end();
}

/** Asks for the forwarding database of one device. */
export function writeFdbQuery(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  index: number,
): void {
  writer.begin(RTM_GETNEIGH, flags, sequence);
  writeHeader(writer, AF_BRIDGE, index, 0, 0);
  writer.end();
}

/** An RTM_NEWNEIGH or RTM_DELNEIGH of family AF_INET. */
export function writeNeighbour(
  writer: MessageWriter,
  type: number,
  flags: number,
  sequence: number,
  neighbour: Neighbour,
): void {
  writer.begin(type, flags, sequence);
  writeHeader(writer, AF_INET, neighbour.index, neighbour.state, 0);
  writer.attributeIPv4(NDA_DST, neighbour.address);
  writer.attributeMac(NDA_LLADDR, neighbour.mac);
  writer.end();
}

/** An RTM_NEWNEIGH or RTM_DELNEIGH of family AF_BRIDGE. */
export function writeFdbEntry(
  writer: MessageWriter,
  type: number,
  flags: number,
  sequence: number,
  entry: FdbEntry,
): void {
  writer.begin(type, flags, sequence);
  writeHeader(writer, AF_BRIDGE, entry.index, entry.state, NTF_SELF);
  writer.attributeMac(NDA_LLADDR, entry.mac);
  if (entry.destination !== undefined) writer.attributeIPv4(NDA_DST, entry.destination);
  writer.end();
}

function writeHeader(
  writer: MessageWriter,
  family: number,
  index: number,
  state: number,
  flags: number,
): void {
  writer.u8(family);
  writer.u8(0);
  writer.u16(0);
  writer.u32(index);
  writer.u16(state);
  writer.u8(flags);
  writer.u8(0);
}

/** The family of an RTM_*NEIGH message. */
export function neighbourFamily(message: MessageCursor): number {
  return message.view.getUint8(message.fixedPart(NDMSG_LENGTH));
}

/** An entry as read: one without a MAC is unresolved, or on its way out. */
export interface NeighbourState extends Pick<Neighbour, "index" | "address" | "state"> {
  readonly mac: Mac | undefined;
}

/**
 * Reads an RTM_*NEIGH of family AF_INET.
 *
 * @returns `undefined` when it is another family's, or `index` is neither 0 nor the interface's
 */
export function readNeighbour(message: MessageCursor, index = 0): NeighbourState | undefined {
  const { view } = message;
  const start = message.fixedPart(NDMSG_LENGTH);
  if (view.getUint8(start) !== AF_INET) return undefined;
  const own = view.getUint32(start + 4, true);
  if (index !== 0 && own !== index) return undefined;
  const attributes = ATTRIBUTES.enter(view, start + NDMSG_LENGTH, message.bodyEnd);
  let address: IPv4 | undefined;
  let mac: Mac | undefined;
  while (attributes.next()) {
    if (attributes.type === NDA_DST) address = attributes.ipv4();
    else if (attributes.type === NDA_LLADDR) mac = attributes.mac();
  }
  if (address === undefined) return undefined;
  return { index: own, address, mac, state: view.getUint16(start + 8, true) };
}

/**
 * Reads an RTM_*NEIGH of family AF_BRIDGE that is in a device's own table.
 *
 * @returns `undefined` when it is none, or `index` is neither 0 nor the device's
 */
export function readFdbEntry(message: MessageCursor, index = 0): FdbEntry | undefined {
  const { view } = message;
  const start = message.fixedPart(NDMSG_LENGTH);
  if (view.getUint8(start) !== AF_BRIDGE) return undefined;
  const own = view.getUint32(start + 4, true);
  if (index !== 0 && own !== index) return undefined;
  if ((view.getUint8(start + 10) & NTF_SELF) === 0) return undefined;
  const attributes = ATTRIBUTES.enter(view, start + NDMSG_LENGTH, message.bodyEnd);
  let destination: IPv4 | undefined;
  let mac: Mac | undefined;
  while (attributes.next()) {
    // No VTEP of flanneld is IPv6: such an entry has no destination here.
    if (attributes.type === NDA_DST && attributes.length === 4) destination = attributes.ipv4();
    else if (attributes.type === NDA_LLADDR) mac = attributes.mac();
  }
  if (mac === undefined) return undefined;
  const entry = { index: own, mac, state: view.getUint16(start + 8, true) };
  return destination === undefined ? entry : { ...entry, destination };
}

/**
 * True for an RTM_*NEIGH of family AF_BRIDGE that repeats a request instead of describing an entry.
 *
 * Up to Linux 6.12 (6.18 no more) rtnetlink announces each FDB request that a driver has carried out
 * (rtnl_fdb_notify() of net/core/rtnetlink.c) after the driver's own announcement, with the requested MAC
 * and state and without the destination, even where nothing changed. Only a driver adds
 * NDA_CACHEINFO (vxlan_fdb_info() of drivers/net/vxlan/vxlan_core.c does so always).
 */
export function isFdbRequestEcho(message: MessageCursor): boolean {
  const attributes = ATTRIBUTES.enter(
    message.view,
    message.bodyStart + NDMSG_LENGTH,
    message.bodyEnd,
  );
  while (attributes.next()) if (attributes.type === NDA_CACHEINFO) return false;
  return true;
}

/** One for all reads: they are synchronous and end before the next begins. */
const ATTRIBUTES = new AttributeCursor();
