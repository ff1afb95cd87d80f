/**
 * RTM_*ADDR of IPv4: struct ifaddrmsg and IFA_* (linux/if_addr.h).
 *
 * @module
 */
import { AttributeCursor, type MessageCursor } from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";
import type { InterfaceAddress } from "../wire/types.ts";
import { AF_INET, AF_INET6 } from "../../linux_constants.ts";

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;

/** struct ifaddrmsg: u8 family, u8 prefix length, u8 flags, u8 scope, u32 index. */
const IFADDRMSG_LENGTH = 8;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;

/** Asks for the IPv4 addresses of one interface, or of all (0). */
export function writeAddressQuery(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  index: number,
): void {
  writer.begin(RTM_GETADDR, flags, sequence);
  writeHeader(writer, 0, 0, 0, index);
  writer.end();
}

/** An RTM_NEWADDR or RTM_DELADDR. */
export function writeAddress(
  writer: MessageWriter,
  type: number,
  flags: number,
  sequence: number,
  address: InterfaceAddress,
): void {
  writer.begin(type, flags, sequence);
  writeHeader(writer, address.prefixLength, address.flags & 0xff, address.scope, address.index);
  // On point-to-point links IFA_ADDRESS is the peer's; elsewhere the two are the same.
  writer.attributeIPv4(IFA_LOCAL, address.address);
  if (address.flags > 0xff) writer.attributeU32(IFA_FLAGS, address.flags);
  writer.attributeIPv4(IFA_ADDRESS, address.address);
  writer.end();
}

function writeHeader(
  writer: MessageWriter,
  prefixLength: number,
  flags: number,
  scope: number,
  index: number,
): void {
  writer.u8(AF_INET);
  writer.u8(prefixLength);
  writer.u8(flags);
  writer.u8(scope);
  writer.u32(index);
}

/**
 * Reads an RTM_NEWADDR or RTM_DELADDR.
 *
 * @returns `undefined` when it is not IPv4's, or `index` is neither 0 nor the interface's
 */
export function readAddress(message: MessageCursor, index = 0): InterfaceAddress | undefined {
  const { view } = message;
  const start = message.fixedPart(IFADDRMSG_LENGTH);
  if (view.getUint8(start) !== AF_INET) return undefined;
  const own = view.getUint32(start + 4, true);
  if (index !== 0 && own !== index) return undefined;
  let local: number | undefined;
  let peer: number | undefined;
  let flags = view.getUint8(start + 2);
  const attributes = new AttributeCursor();
  attributes.enter(view, start + IFADDRMSG_LENGTH, message.bodyEnd);
  while (attributes.next()) {
    if (attributes.type === IFA_LOCAL) local = attributes.ipv4();
    else if (attributes.type === IFA_ADDRESS) peer = attributes.ipv4();
    else if (attributes.type === IFA_FLAGS) flags = attributes.u32();
  }
  const address = local ?? peer;
  if (address === undefined) return undefined;
  return {
    index: own,
    address,
    prefixLength: view.getUint8(start + 1),
    scope: view.getUint8(start + 3),
    flags,
  };
}

/** Reads the interface's index of an IPv6 address; `undefined` for another family. */
export function readIPv6AddressIndex(message: MessageCursor): number | undefined {
  const start = message.fixedPart(IFADDRMSG_LENGTH);
  return message.view.getUint8(start) === AF_INET6
    ? message.view.getUint32(start + 4, true)
    : undefined;
}
