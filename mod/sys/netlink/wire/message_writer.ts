import type { IPv4 } from "../../../ip/mod.ts";
import { parseMac } from "./mac.ts";
import { HEADER_LENGTH } from "./message.ts";
import type { Mac } from "./types.ts";

/**
 * Writes messages one after the other.
 *
 * @example
 * ```ts
 * import { NLM_F_REQUEST } from "./message.ts";
 * import { MessageWriter } from "./message_writer.ts";
 * const writer = new MessageWriter();
 * writer.begin(18, NLM_F_REQUEST, 1); // RTM_GETLINK
 * writer.zeros(16); // struct ifinfomsg
 * writer.attributeString(3, "eth0"); // IFLA_IFNAME
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

  /** The written bytes; a view that the next write invalidates. */
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

  /** Four bytes in network order, signed or not, as nfnetlink reads its numbers. */
  attributeU32BE(type: number, value: number): void {
    const at = this.#attribute(type, 4);
    this.#view.setUint32(at, value >>> 0, false);
  }

  /** Bytes as they are. */
  attributeBytes(type: number, bytes: Uint8Array): void {
    const at = this.#attribute(type, bytes.length);
    this.#bytes.set(bytes, at);
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
   * before 5.2 do not have that flag, and later ones require it only in messages newer than these.
   *
   * @returns the argument of {@linkcode endNested}
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
