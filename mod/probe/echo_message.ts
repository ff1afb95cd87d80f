/**
 * ICMP echo messages (RFC 792).
 *
 * @module
 */
import { onesComplementSum } from "../ip/checksum.ts";

/** ICMP types. */
export const ECHO_REPLY = 0;
export const ECHO_REQUEST = 8;

/** Header in bytes: type, code, checksum, identifier, sequence number. */
export const ICMP_HEADER = 8;
/** IPv4 header without options, in bytes. */
export const IPV4_HEADER = 20;
/** Bytes of the random token behind the header, which identifies replies to this process. */
export const TOKEN = 8;
/** Length of the shortest echo packet with a token, in bytes with its IP header. */
export const SHORTEST_ECHO: number = IPV4_HEADER + ICMP_HEADER + TOKEN;

/** Decoded fields of an echo message. */
export interface EchoMessage {
  readonly isReply: boolean;
  /** The sender's, 16 bits. */
  readonly identifier: number;
  /** 16 bits. */
  readonly sequence: number;
  /** The data behind the header, at most {@linkcode TOKEN} bytes. */
  readonly token: Uint8Array;
}

/**
 * Writes an echo request of `length` bytes, without an IP header, at the start of `bytes`. Pads the token
 * with zeros.
 *
 * @param length at least header and token
 * @param identifier 16 bits; a ping socket replaces it with its own
 * @throws {RangeError} when it does not fit, or is too short
 */
export function writeEchoRequest(
  bytes: Uint8Array<ArrayBuffer>,
  length: number,
  message: Omit<EchoMessage, "isReply">,
): void {
  if (message.token.length !== TOKEN) throw new RangeError(`a token has ${TOKEN} bytes`);
  writeEcho(bytes, length, { ...message, isReply: false });
}

/**
 * Writes an echo message of `length` bytes, as {@linkcode writeEchoRequest} does, whose token may be
 * longer.
 *
 * @throws {RangeError} when it does not fit, or is too short
 */
export function writeEcho(
  bytes: Uint8Array<ArrayBuffer>,
  length: number,
  { isReply, identifier, sequence, token }: EchoMessage,
): void {
  if (length < ICMP_HEADER + token.length || length > bytes.length) {
    throw new RangeError(`no echo request of ${length} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  bytes.fill(0, 0, length);
  view.setUint8(0, isReply ? ECHO_REPLY : ECHO_REQUEST);
  view.setUint16(4, identifier);
  view.setUint16(6, sequence);
  bytes.set(token, ICMP_HEADER);
  // The sum is computed over little-endian words and stored as one.
  view.setUint16(2, ~onesComplementSum(view, 0, length) & 0xffff, true);
}

/**
 * Reads an echo message.
 *
 * @param offset of the ICMP header
 * @param end behind the last byte
 * @returns `undefined` when it is another message, or too short
 */
export function readEcho(view: DataView, offset: number, end: number): EchoMessage | undefined {
  if (offset + ICMP_HEADER > end || view.getUint8(offset + 1) !== 0) return undefined;
  const type = view.getUint8(offset);
  if (type !== ECHO_REPLY && type !== ECHO_REQUEST) return undefined;
  const start = offset + ICMP_HEADER;
  return {
    isReply: type === ECHO_REPLY,
    identifier: view.getUint16(offset + 4),
    sequence: view.getUint16(offset + 6),
    token: new Uint8Array(view.buffer, view.byteOffset + start, Math.min(TOKEN, end - start)),
  };
}

/**
 * Returns the offset of the ICMP header in a packet of a raw socket, behind the IP header (raw(7)).
 *
 * @returns `undefined` when it is not an IPv4 packet with ICMP
 */
export function skipIpHeader(view: DataView, offset: number, end: number): number | undefined {
  if (offset + IPV4_HEADER > end) return undefined;
  const first = view.getUint8(offset);
  const length = (first & 15) * 4;
  const isIcmp = (first >>> 4) === 4 && view.getUint8(offset + 9) === 1; // IPPROTO_ICMP
  return isIcmp && length >= IPV4_HEADER && offset + length <= end ? offset + length : undefined;
}
