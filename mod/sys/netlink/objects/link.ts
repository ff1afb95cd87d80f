/**
 * RTM_*LINK: struct ifinfomsg and IFLA_* (linux/if_link.h).
 *
 * @module
 */
import { AttributeCursor, type MessageCursor } from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";
import type { Link } from "../wire/types.ts";
import type { NewLink } from "./link_kind.ts";
import { IFF_UP } from "../../linux_constants.ts";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;

/** struct ifinfomsg: u8 family, u8 pad, u16 type, i32 index, u32 flags, u32 change. */
export const IFINFOMSG_LENGTH = 16;

export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_EXT_MASK = 29;
const IFLA_ALT_IFNAME = 53;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const IFLA_BRPORT_MODE = 4;

/** linux/rtnetlink.h: leave the statistics out, 200 of a link message's 1,400 bytes. */
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

/** linux/if.h IFNAMSIZ without the NUL. Longer names can only be alternative names (Linux 5.5). */
const IFNAME_LENGTH = 15;

/** Fields that {@linkcode writeLinkChange} sets; the others stay as they are. */
export interface LinkChange {
  readonly up?: boolean | undefined;
  /** Bytes. */
  readonly mtu?: number | undefined;
  readonly mac?: string | undefined;
  /** Index of the bridge that it becomes a port of. */
  readonly master?: number | undefined;
  /** Of a bridge's port: the bridge returns packets by the port that they came from. */
  readonly hairpin?: boolean | undefined;
  /** Description of up to 255 bytes, which `ip link` shows. */
  readonly alias?: string | undefined;
}

/** Asks for all links (`which` undefined), or for one by index or by name. */
export function writeLinkQuery(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  which?: number | string,
): void {
  writer.begin(RTM_GETLINK, flags, sequence);
  writeLinkHeader(writer, typeof which === "number" ? which : 0, 0, 0);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  if (typeof which === "string") {
    const long = new TextEncoder().encode(which).length > IFNAME_LENGTH;
    writer.attributeString(long ? IFLA_ALT_IFNAME : IFLA_IFNAME, which);
  }
  writer.end();
}

/** Requests a link of some kind. `flags` determine whether it may exist. */
export function writeNewLink<T extends object>(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  { name, mtu, mac, master, kind, attributes }: NewLink<T>,
): void {
  writer.begin(RTM_NEWLINK, flags, sequence);
  writeLinkHeader(writer, 0, 0, 0);
  // In the order of iproute2, so that the two can be compared.
  writer.attributeU32(IFLA_MTU, mtu);
  if (mac !== undefined) writer.attributeMac(IFLA_ADDRESS, mac);
  if (master !== undefined) writer.attributeU32(IFLA_MASTER, master);
  writer.attributeString(IFLA_IFNAME, name);
  const info = writer.beginNested(IFLA_LINKINFO);
  writer.attributeString(IFLA_INFO_KIND, kind.name, 0);
  writer.attributeBytes(IFLA_INFO_DATA, kind.encode(attributes));
  writer.endNested(info);
  writer.end();
}

/** Changes a link. */
export function writeLinkChange(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  index: number,
  change: LinkChange,
): void {
  writer.begin(RTM_NEWLINK, flags, sequence);
  if (change.up === undefined) writeLinkHeader(writer, index, 0, 0);
  else writeLinkHeader(writer, index, change.up ? IFF_UP : 0, IFF_UP);
  if (change.mtu !== undefined) writer.attributeU32(IFLA_MTU, change.mtu);
  if (change.mac !== undefined) writer.attributeMac(IFLA_ADDRESS, change.mac);
  if (change.master !== undefined) writer.attributeU32(IFLA_MASTER, change.master);
  if (change.hairpin !== undefined) writeHairpin(writer, change.hairpin);
  if (change.alias !== undefined) writer.attributeString(IFLA_IFALIAS, change.alias, 0);
  writer.end();
}

function writeHairpin(writer: MessageWriter, hairpin: boolean): void {
  const info = writer.beginNested(IFLA_LINKINFO);
  writer.attributeString(IFLA_INFO_SLAVE_KIND, "bridge", 0);
  const data = writer.beginNested(IFLA_INFO_SLAVE_DATA);
  writer.attributeU8(IFLA_BRPORT_MODE, hairpin ? 1 : 0);
  writer.endNested(data);
  writer.endNested(info);
}

/** Deletes a link. */
export function writeLinkDeletion(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  index: number,
): void {
  writer.begin(RTM_DELLINK, flags, sequence);
  writeLinkHeader(writer, index, 0, 0);
  writer.end();
}

/** struct ifinfomsg. @param index 0 for none */
export function writeLinkHeader(
  writer: MessageWriter,
  index: number,
  flags: number,
  change: number,
): void {
  writer.u8(0); // AF_UNSPEC
  writer.u8(0);
  writer.u16(0);
  writer.u32(index);
  writer.u32(flags);
  writer.u32(change);
}

/** Reads an RTM_NEWLINK or RTM_DELLINK. */
export function readLink(message: MessageCursor): Link {
  const { view } = message;
  const start = message.fixedPart(IFINFOMSG_LENGTH);
  const attributes = new AttributeCursor();
  attributes.enter(view, start + IFINFOMSG_LENGTH, message.bodyEnd);
  const link: Writable<Link> = {
    index: view.getInt32(start + 4, true),
    name: "",
    flags: view.getUint32(start + 8, true),
    mtu: 0,
  };
  let peer: number | undefined;
  while (attributes.next()) {
    switch (attributes.type) {
      case IFLA_IFNAME:
        link.name = attributes.string();
        break;
      case IFLA_MTU:
        link.mtu = attributes.u32();
        break;
      case IFLA_ADDRESS: {
        const mac = attributes.mac();
        if (mac !== undefined) link.mac = mac;
        break;
      }
      case IFLA_LINK:
        peer = attributes.u32();
        break;
      case IFLA_MASTER:
        link.master = attributes.u32();
        break;
      case IFLA_IFALIAS:
        link.alias = attributes.string();
        break;
      case IFLA_LINKINFO:
        readLinkInfo(attributes.nested(), link);
        break;
    }
  }
  if (link.kind === "veth" && peer !== undefined) link.peer = peer;
  return link;
}

function readLinkInfo(info: AttributeCursor, link: Writable<Link>): void {
  while (info.next()) {
    if (info.type === IFLA_INFO_KIND) link.kind = info.string();
    else if (info.type === IFLA_INFO_DATA) link.data = info.bytes();
  }
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
