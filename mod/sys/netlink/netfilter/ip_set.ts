import type { Prefix } from "../../../ip/mod.ts";
import { Errno, SysError } from "../../ffi/errno.ts";
import { AttributeCursor, type MessageCursor, NLM_F_EXCL, readPrefix } from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";
import {
  attributeNetworkU32,
  beginNetfilter,
  NetfilterSocket,
  NFGENMSG_LENGTH,
  NFNL_SUBSYS_IPSET,
  NFPROTO_IPV4,
  NLA_F_NESTED,
} from "./netfilter.ts";
import type { NetlinkSocketOptions } from "../wire/socket.ts";

/** IPSET_PROTOCOL_MIN of linux/netfilter/ipset/ip_set.h, which has the numbers below, too. */
const PROTOCOL = 6;

const CMD_CREATE = 2;
const CMD_DESTROY = 3;
const CMD_LIST = 7;
const CMD_ADD = 9;
const CMD_DEL = 10;

const ATTR_PROTOCOL = 1;
const ATTR_SETNAME = 2;
const ATTR_TYPENAME = 3;
const ATTR_REVISION = 4;
const ATTR_FAMILY = 5;
const ATTR_FLAGS = 6;
const ATTR_DATA = 7;
const ATTR_ADT = 8;
const ATTR_LINENO = 9;
/** Within ATTR_DATA. */
const ATTR_IP = 1;
const ATTR_CIDR = 3;
const ATTR_MAXELEM = 19;
const ATTR_ELEMENTS = 24;
/** Within ATTR_IP. */
const ATTR_IPADDR_IPV4 = 1;

const FLAG_LIST_HEADER = 1 << 2;

const TYPE = "hash:net";

/** Elements of one message: 24 bytes each, below the longest send of 32 KiB. */
const ELEMENTS_PER_MESSAGE = 1000;

/** Properties of a set, without its elements. */
export interface IpSetHeader {
  /** `hash:net` */
  readonly type: string;
  /** AF_INET, 2, or AF_INET6, 10. */
  readonly family: number;
  readonly maxElements: number;
  readonly elements: number;
}

/**
 * The kernel's IP sets of type `hash:net`, as ipset(8) and iptables' `-m set` know them; over netlink, since
 * hosts with iptables need not have the program.
 *
 * All calls are synchronous and throw {@linkcode SysError}: EPERM without CAP_NET_ADMIN, EINVAL or
 * EOPNOTSUPP when the kernel has no IP sets, E4096 and above for the sets' own errors (`enum ipset_errno`).
 */
export class IpSets implements Disposable {
  readonly #socket: NetfilterSocket;

  /** @throws {SysError} when the namespace or the socket cannot be opened */
  constructor(options: NetlinkSocketOptions = {}) {
    this.#socket = new NetfilterSocket(options);
  }

  /** Reads the properties of a set; `undefined` when there is none of the name. Cost: O(1). */
  header(name: string): IpSetHeader | undefined {
    return this.#list(name, FLAG_LIST_HEADER, readHeader)[0];
  }

  /** Reads all elements; none for a set that does not exist. */
  elements(name: string): Prefix[] {
    return this.#list(name, 0, readElements).flat();
  }

  /**
   * Makes an empty set.
   *
   * @param maxElements a limit; memory grows with the elements
   * @throws {SysError} EEXIST when there is a set of the name
   */
  create(name: string, maxElements: number): void {
    this.#request("IPSET_CMD_CREATE", CMD_CREATE, name, (writer) => {
      writer.attributeString(ATTR_TYPENAME, TYPE);
      // The oldest form of the type.
      writer.attributeU8(ATTR_REVISION, 0);
      writer.attributeU8(ATTR_FAMILY, NFPROTO_IPV4);
      const data = writer.beginNested(ATTR_DATA | NLA_F_NESTED);
      attributeNetworkU32(writer, ATTR_MAXELEM, maxElements);
      writer.endNested(data);
    }, NLM_F_EXCL);
  }

  /**
   * Removes a set with its elements.
   *
   * @returns false when there was none
   * @throws {SysError} E4100 (IPSET_ERR_BUSY) while a rule refers to it
   */
  destroy(name: string): boolean {
    try {
      this.#request("IPSET_CMD_DESTROY", CMD_DESTROY, name, () => {}, NLM_F_EXCL);
      return true;
    } catch (error) {
      if (error instanceof SysError && error.errno === Errno.ENOENT) return false;
      throw error;
    }
  }

  /**
   * Adds elements; existing ones stay. Cost: O(elements), one message for a thousand.
   *
   * @throws {SysError} ENOENT when there is no such set; E4352 (IPSET_ERR_HASH_FULL) when it is full
   */
  add(name: string, elements: readonly Prefix[]): void {
    this.#change("IPSET_CMD_ADD", CMD_ADD, name, elements);
  }

  /** Removes elements; ignores missing ones. @throws as {@linkcode add} */
  delete(name: string, elements: readonly Prefix[]): void {
    this.#change("IPSET_CMD_DEL", CMD_DEL, name, elements);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #change(request: string, command: number, name: string, elements: readonly Prefix[]): void {
    for (let from = 0; from < elements.length; from += ELEMENTS_PER_MESSAGE) {
      const part = elements.slice(from, from + ELEMENTS_PER_MESSAGE);
      this.#request(request, command, name, (writer) => {
        // Numbers the elements in errors; wanted where there are several.
        attributeNetworkU32(writer, ATTR_LINENO, 1);
        const list = writer.beginNested(ATTR_ADT | NLA_F_NESTED);
        for (const element of part) writeElement(writer, element);
        writer.endNested(list);
      });
    }
  }

  #request(
    request: string,
    command: number,
    name: string,
    write: (writer: MessageWriter) => void,
    flags = 0,
  ): void {
    this.#socket.exchange.request(
      { name: request, subject: name },
      flags,
      (writer, flags, sequence) => {
        begin(writer, command, { flags, sequence }, name);
        write(writer);
        writer.end();
      },
    );
  }

  #list<T>(name: string, flags: number, read: (message: MessageCursor) => T): T[] {
    return this.#socket.exchange.dump(
      { name: "IPSET_CMD_LIST", subject: name },
      (writer, netlinkFlags, sequence) => {
        begin(writer, CMD_LIST, { flags: netlinkFlags, sequence }, name);
        if (flags !== 0) attributeNetworkU32(writer, ATTR_FLAGS, flags);
        writer.end();
      },
      NFNL_SUBSYS_IPSET << 8 | CMD_LIST,
      read,
    );
  }
}

function begin(
  writer: MessageWriter,
  command: number,
  header: { readonly flags: number; readonly sequence: number },
  name: string,
): void {
  beginNetfilter(writer, NFNL_SUBSYS_IPSET, command, header);
  writer.attributeU8(ATTR_PROTOCOL, PROTOCOL);
  writer.attributeString(ATTR_SETNAME, name);
}

function writeElement(writer: MessageWriter, { address, length }: Prefix): void {
  const data = writer.beginNested(ATTR_DATA | NLA_F_NESTED);
  const ip = writer.beginNested(ATTR_IP | NLA_F_NESTED);
  attributeNetworkU32(writer, ATTR_IPADDR_IPV4, address);
  writer.endNested(ip);
  writer.attributeU8(ATTR_CIDR, length);
  writer.endNested(data);
}

/** Reads a set without its elements. Exported for its test. */
export function readHeader(message: MessageCursor): IpSetHeader {
  const header = { type: "", family: 0, maxElements: 0, elements: 0 };
  for (const attribute of attributesOf(message)) {
    if (attribute.type === ATTR_TYPENAME) header.type = attribute.string();
    else if (attribute.type === ATTR_FAMILY) header.family = attribute.u8();
    else if (attribute.type === ATTR_DATA) {
      const data = attribute.nested();
      while (data.next()) {
        if (data.type === ATTR_MAXELEM) header.maxElements = data.ipv4();
        else if (data.type === ATTR_ELEMENTS) header.elements = data.ipv4();
      }
    }
  }
  return header;
}

/** Reads the elements of a set. Exported for its test. */
export function readElements(message: MessageCursor): Prefix[] {
  const elements: Prefix[] = [];
  for (const attribute of attributesOf(message)) {
    if (attribute.type !== ATTR_ADT) continue;
    const list = attribute.nested();
    while (list.next()) elements.push(readElement(list.nested()));
  }
  return elements;
}

/** A single address comes without its length. */
function readElement(data: AttributeCursor): Prefix {
  let address = 0;
  let length = 32;
  while (data.next()) {
    if (data.type === ATTR_CIDR) length = data.u8();
    else if (data.type === ATTR_IP) {
      const ip = data.nested();
      while (ip.next()) if (ip.type === ATTR_IPADDR_IPV4) address = ip.ipv4();
    }
  }
  return readPrefix(address, length);
}

function* attributesOf(message: MessageCursor): Generator<AttributeCursor> {
  const attributes = new AttributeCursor()
    .enter(message.view, message.bodyStart + NFGENMSG_LENGTH, message.bodyEnd);
  while (attributes.next()) yield attributes;
}
