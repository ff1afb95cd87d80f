/**
 * The netlink message format: headers and attributes (linux/netlink.h, RFC 3549).
 *
 * Numbers are in host order, which is little-endian on all that the runtime is built for (x86-64,
 * arm64); addresses and ports are in network order. Messages and attributes start at multiples of 4.
 *
 * The cursors work on the received bytes and make no object per message or attribute: a dump of
 * 60,000 routes has 500,000 attributes.
 *
 * @module
 */
import { type IPv4, Prefix } from "../../../ip/mod.ts";
import { formatMac } from "./mac.ts";
import type { Mac } from "./types.ts";

/** struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port. */
export const HEADER_LENGTH = 16;

/** NLMSG_* types. */
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

/** Flags of every request. */
export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
/** Of an answer: the table changed while it was dumped. */
export const NLM_F_DUMP_INTR = 0x10;
/** Of an answer: the kernel left the echoed request's payload out. */
export const NLM_F_CAPPED = 0x100;
/** Of an answer: attributes follow the error. */
export const NLM_F_ACK_TLVS = 0x200;
/** Of a GET request: NLM_F_ROOT | NLM_F_MATCH. */
export const NLM_F_DUMP = 0x300;
/** Of a NEW request. */
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

/** Attribute types without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const NLA_TYPE_MASK = 0x3fff;

/** Bytes that are no netlink messages. The kernel never sends such; a truncated datagram looks so. */
export class NetlinkFormatError extends Error {
  override readonly name = "NetlinkFormatError";
}

/**
 * Walks the messages of a datagram.
 *
 * @example
 * ```ts
 * import { MessageCursor } from "./message.ts";
 * const cursor = new MessageCursor();
 * cursor.enter(new DataView(new ArrayBuffer(0)), 0, 0);
 * while (cursor.next()) console.log(cursor.type, cursor.bodyStart, cursor.bodyEnd);
 * ```
 */
export class MessageCursor {
  view: DataView = EMPTY;
  type = 0;
  flags = 0;
  sequence = 0;
  /** Of a multicast: the port of the socket that asked for the change; 0 is the kernel. */
  port = 0;
  /** First byte after the header. */
  bodyStart = 0;
  /** First byte after the message, without padding. */
  bodyEnd = 0;
  #at = 0;
  #end = 0;

  enter(view: DataView, start: number, end: number): this {
    this.view = view;
    this.#at = start;
    this.#end = end;
    return this;
  }

  /**
   * Steps to the next message. @returns false at the end
   *
   * @throws {NetlinkFormatError} when a length points outside the datagram
   */
  next(): boolean {
    const at = this.#at;
    if (at >= this.#end) return false;
    const left = this.#end - at;
    const length = left < HEADER_LENGTH ? 0 : this.view.getUint32(at, true);
    if (length < HEADER_LENGTH || length > left) {
      throw new NetlinkFormatError(`message of ${length} bytes with ${left} bytes left`);
    }
    this.type = this.view.getUint16(at + 4, true);
    this.flags = this.view.getUint16(at + 6, true);
    this.sequence = this.view.getUint32(at + 8, true);
    this.port = this.view.getUint32(at + 12, true);
    this.bodyStart = at + HEADER_LENGTH;
    this.bodyEnd = at + length;
    this.#at = at + ((length + 3) & ~3);
    return true;
  }

  /**
   * Checks that the body begins with a fixed part, which may then be read.
   *
   * @param length of the fixed part, in bytes
   * @returns offset of its first byte
   * @throws {NetlinkFormatError} when the message ends before
   */
  fixedPart(length: number): number {
    const { bodyStart, bodyEnd } = this;
    if (bodyEnd - bodyStart >= length) return bodyStart;
    throw new NetlinkFormatError(
      `message of type ${this.type} has ${bodyEnd - bodyStart} bytes where ${length} belong`,
    );
  }
}

/** Walks the attributes of a message, or those nested in one. */
export class AttributeCursor {
  view: DataView = EMPTY;
  /** Without flag bits. */
  type = 0;
  /** Of the payload. */
  offset = 0;
  /** Of the payload. */
  length = 0;
  #at = 0;
  #end = 0;

  enter(view: DataView, start: number, end: number): this {
    this.view = view;
    this.#at = start;
    this.#end = end;
    return this;
  }

  /**
   * Steps to the next attribute. @returns false at the end
   *
   * @throws {NetlinkFormatError} when a length points outside the message
   */
  next(): boolean {
    const at = this.#at;
    const left = this.#end - at;
    // Under four bytes can only be padding.
    if (left < 4) return false;
    const length = this.view.getUint16(at, true);
    if (length < 4 || length > left) {
      throw new NetlinkFormatError(`attribute of ${length} bytes with ${left} bytes left`);
    }
    this.type = this.view.getUint16(at + 2, true) & NLA_TYPE_MASK;
    this.offset = at + 4;
    this.length = length - 4;
    this.#at = at + ((length + 3) & ~3);
    return true;
  }

  u8(): number {
    this.#need(1);
    return this.view.getUint8(this.offset);
  }

  u32(): number {
    this.#need(4);
    return this.view.getUint32(this.offset, true);
  }

  /** Four bytes in network order, as nfnetlink writes its numbers. */
  u32be(): number {
    this.#need(4);
    return this.view.getUint32(this.offset, false);
  }

  /** Eight bytes in network order. */
  u64be(): bigint {
    this.#need(8);
    return this.view.getBigUint64(this.offset, false);
  }

  /** A copy of the payload. */
  bytes(): Uint8Array {
    return new Uint8Array(this.view.buffer, this.view.byteOffset + this.offset, this.length)
      .slice();
  }

  /** Two bytes in network order. */
  port(): number {
    this.#need(2);
    return this.view.getUint16(this.offset, false);
  }

  /** Four bytes in network order. */
  ipv4(): IPv4 {
    this.#need(4);
    return this.view.getUint32(this.offset, false);
  }

  /** Six bytes; `undefined` for hardware addresses of another length (InfiniBand, tunnels). */
  mac(): Mac | undefined {
    return this.length === 6 ? formatMac(this.view, this.offset) : undefined;
  }

  /** Text up to its NUL. */
  string(): string {
    let length = 0;
    while (length < this.length && this.view.getUint8(this.offset + length) !== 0) length++;
    return new TextDecoder().decode(
      new Uint8Array(this.view.buffer, this.view.byteOffset + this.offset, length),
    );
  }

  /** A cursor over the attributes inside this one. */
  nested(): AttributeCursor {
    return new AttributeCursor().enter(this.view, this.offset, this.offset + this.length);
  }

  #need(length: number): void {
    if (this.length < length) {
      throw new NetlinkFormatError(
        `attribute ${this.type} has ${this.length} bytes where ${length} belong`,
      );
    }
  }
}

/** A prefix as read. @throws {NetlinkFormatError} when the length is above 32 */
export function readPrefix(address: IPv4, length: number): Prefix {
  if (length > 32) throw new NetlinkFormatError(`an IPv4 prefix of length ${length}`);
  return new Prefix(address, length);
}

const EMPTY = new DataView(new ArrayBuffer(0));
