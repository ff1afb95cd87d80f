/**
 * The netlink message format: headers and attributes (linux/netlink.h, RFC 3549).
 *
 * Numbers are in host order, which is little-endian on all that the runtime is built for (x86-64,
 * arm64); addresses and ports are in network order. Messages and attributes start at multiples of 4.
 *
 * Writer and cursors work on one buffer and make no object per message or attribute: a dump of
 * 60,000 routes has 500,000 attributes.
 *
 * @module
 */
import type { IPv4 } from "../../ip/mod.ts";
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
 * Writes messages one after the other.
 *
 * @example
 * ```ts
 * import { MessageWriter, NLM_F_REQUEST } from "./message.ts";
 * const writer = new MessageWriter();
 * writer.begin(18, NLM_F_REQUEST, 1); // RTM_GETLINK
 * writer.zeros(16); // struct ifinfomsg
 * writer.string(3, "eth0"); // IFLA_IFNAME
 * writer.end();
 * ```
 */
export class MessageWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView<ArrayBuffer>;
  #length = 0;
  /** Of the message being written. */
  #start = 0;
  /** Start of the last complete message. */
  #ended = 0;

  /** @param capacity bytes to begin with; the buffer doubles as needed */
  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(new ArrayBuffer(Math.max(capacity, 128)));
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written. */
  get length(): number {
    return this.#length;
  }

  /** What was written; a view that the next write invalidates. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Forgets all messages, keeps the buffer. */
  reset(): void {
    this.#length = 0;
  }

  /** Starts a message: writes its header; the length is filled in by {@linkcode end}. */
  begin(type: number, flags: number, sequence: number): void {
    this.#start = this.#length;
    const at = this.#grow(HEADER_LENGTH);
    this.#view.setUint16(at + 4, type, true);
    this.#view.setUint16(at + 6, flags, true);
    this.#view.setUint32(at + 8, sequence, true);
    // Port 0: the kernel fills in the socket's own.
    this.#view.setUint32(at + 12, 0, true);
  }

  /** Ends the message that {@linkcode begin} started. */
  end(): void {
    this.#view.setUint32(this.#start, this.#length - this.#start, true);
    this.#ended = this.#start;
  }

  /** Takes back the message that {@linkcode begin} started and nothing ended. */
  abandon(): void {
    this.#length = this.#start;
  }

  /** Sets a flag of the message that was ended last. */
  addFlags(flags: number): void {
    const at = this.#ended + 6;
    this.#view.setUint16(at, this.#view.getUint16(at, true) | flags, true);
  }

  /** Fields of the family's header (struct rtmsg, ndmsg...), written in order. */
  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#view.setUint16(this.#length, value, true);
    this.#length += 2;
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
  }

  zeros(count: number): void {
    this.#reserve(count);
    this.#bytes.fill(0, this.#length, this.#length + count);
    this.#length += count;
  }

  /** An attribute of one byte. */
  attributeU8(type: number, value: number): void {
    const at = this.#attribute(type, 1);
    this.#bytes[at] = value;
  }

  /** An attribute of four bytes in host order. */
  attributeU32(type: number, value: number): void {
    const at = this.#attribute(type, 4);
    this.#view.setUint32(at, value, true);
  }

  /** A port: two bytes in network order. */
  attributePort(type: number, port: number): void {
    const at = this.#attribute(type, 2);
    this.#view.setUint16(at, port, false);
  }

  /** An address: four bytes in network order. */
  attributeIPv4(type: number, address: IPv4): void {
    const at = this.#attribute(type, 4);
    this.#view.setUint32(at, address, false);
  }

  /**
   * A hardware address of six bytes.
   *
   * @throws {RangeError} when the text is not six hex octets with colons
   */
  attributeMac(type: number, mac: Mac): void {
    const at = this.#attribute(type, 6);
    if (!parseMac(mac, this.#bytes, at)) throw new RangeError(`not a MAC address: "${mac}"`);
  }

  /**
   * A string.
   *
   * @param terminator bytes of NUL after it; the kernel takes most strings with or without
   */
  attributeString(type: number, text: string, terminator: 0 | 1 = 1): void {
    const utf8 = new TextEncoder().encode(text);
    const at = this.#attribute(type, utf8.length + terminator);
    this.#bytes.set(utf8, at);
    if (terminator === 1) this.#bytes[at + utf8.length] = 0;
  }

  /** An attribute that is true by being there. */
  attributeFlag(type: number): void {
    this.#attribute(type, 0);
  }

  /**
   * Starts an attribute that holds attributes. Without NLA_F_NESTED, as iproute2 does for links: kernels
   * before 5.2 know no such flag, later ones ask for it in newer messages than ours only.
   *
   * @returns what {@linkcode endNested} wants
   */
  beginNested(type: number): number {
    return this.#attribute(type, 0) - 4;
  }

  endNested(start: number): void {
    this.#view.setUint16(start, this.#length - start, true);
  }

  /** Room for an attribute, padded. @returns offset of the payload */
  #attribute(type: number, length: number): number {
    const padded = (length + 3) & ~3;
    const at = this.#grow(4 + padded);
    this.#view.setUint16(at, 4 + length, true);
    this.#view.setUint16(at + 2, type, true);
    // The buffer is used again and again: what an earlier message left must not leak into padding.
    if (padded !== length) this.#view.setUint32(at + padded, 0, true);
    return at + 4;
  }

  #grow(count: number): number {
    this.#reserve(count);
    const at = this.#length;
    this.#length += count;
    return at;
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    let capacity = this.#bytes.length * 2;
    while (capacity < this.#length + count) capacity *= 2;
    const bytes = new Uint8Array(new ArrayBuffer(capacity));
    bytes.set(this.bytes);
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
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
    this.bodyStart = at + HEADER_LENGTH;
    this.bodyEnd = at + length;
    this.#at = at + ((length + 3) & ~3);
    return true;
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

const EMPTY = new DataView(new ArrayBuffer(0));

const OCTETS = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, "0"));

function formatMac(view: DataView, at: number): Mac {
  return `${OCTETS[view.getUint8(at)]}:${OCTETS[view.getUint8(at + 1)]}:${
    OCTETS[view.getUint8(at + 2)]
  }:${OCTETS[view.getUint8(at + 3)]}:${OCTETS[view.getUint8(at + 4)]}:${
    OCTETS[view.getUint8(at + 5)]
  }`;
}

/** Writes six octets to `bytes[at..]`. @returns false when `mac` is not six hex octets */
function parseMac(mac: Mac, bytes: Uint8Array, at: number): boolean {
  if (mac.length !== 17) return false;
  for (let i = 0; i < 6; i++) {
    const high = hexDigit(mac.charCodeAt(3 * i));
    const low = hexDigit(mac.charCodeAt(3 * i + 1));
    if (high < 0 || low < 0 || (i < 5 && mac[3 * i + 2] !== ":")) return false;
    bytes[at + i] = high * 16 + low;
  }
  return true;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
