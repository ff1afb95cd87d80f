/**
 * Ethernet frames of a host on a bridge: ARP (RFC 826) and ICMP echo messages in IPv4.
 *
 * @module
 */
import { onesComplementSum } from "../ip/checksum.ts";
import type { IPv4 } from "../ip/mod.ts";
import { formatMac, type Mac, parseMac } from "../sys/mod.ts";
import {
  type EchoMessage,
  ICMP_HEADER,
  IPV4_HEADER,
  readEcho,
  skipIpHeader,
  TOKEN,
  writeEcho,
} from "./echo_message.ts";
import { ETH_HLEN, ETH_P_IP, IPPROTO_ICMP } from "../sys/linux_constants.ts";

const ETHERTYPE_ARP = 0x0806;
const BROADCAST_MAC: Mac = "ff:ff:ff:ff:ff:ff";

/** Hardware type Ethernet, protocol IPv4, lengths 6 and 4: the first 6 bytes of the ARP message. */
const ARP_ETHERNET_IPV4 = [0, 1, 8, 0, 6, 4];
const ARP_LENGTH = 28;
const ARP_REQUEST = 1;
const ARP_REPLY = 2;

/** Default of Linux (net.ipv4.ip_default_ttl). */
const TTL = 64;
/** Bytes behind the ICMP header, as in ping(8). */
const ECHO_DATA = 56;

/** Ethernet and IPv4 address of one station. */
export interface Station {
  readonly mac: Mac;
  readonly address: IPv4;
}

/** An ARP message. */
export interface ArpFrame {
  readonly type: "arp";
  readonly isReply: boolean;
  readonly sender: Station;
  /** Its MAC is zero in requests. */
  readonly target: Station;
}

/** An ICMP echo message in an IPv4 packet. */
export interface EchoFrame {
  readonly type: "echo";
  readonly source: Station;
  readonly destination: Station;
  readonly echo: EchoMessage;
}

/** Encodes a frame. ARP requests are broadcast. */
export function encodeFrame(frame: ArpFrame | EchoFrame): Uint8Array<ArrayBuffer> {
  return frame.type === "arp" ? encodeArp(frame) : encodeEcho(frame);
}

function encodeArp({ isReply, sender, target }: ArpFrame): Uint8Array<ArrayBuffer> {
  const to = isReply ? target.mac : BROADCAST_MAC;
  const { bytes, view } = ethernet(ARP_LENGTH, to, sender.mac, ETHERTYPE_ARP);
  bytes.set(ARP_ETHERNET_IPV4, ETH_HLEN);
  view.setUint16(ETH_HLEN + 6, isReply ? ARP_REPLY : ARP_REQUEST);
  writeStation(bytes, view, ETH_HLEN + 8, sender);
  writeStation(bytes, view, ETH_HLEN + 18, target);
  return bytes;
}

function encodeEcho({ source, destination, echo }: EchoFrame): Uint8Array<ArrayBuffer> {
  const length = IPV4_HEADER + ICMP_HEADER + ECHO_DATA;
  const { bytes, view } = ethernet(length, destination.mac, source.mac, ETH_P_IP);
  const at = ETH_HLEN;
  view.setUint8(at, 0x45); // Version 4, 5 words.
  view.setUint16(at + 2, length);
  view.setUint8(at + 8, TTL);
  view.setUint8(at + 9, IPPROTO_ICMP);
  view.setUint32(at + 12, source.address);
  view.setUint32(at + 16, destination.address);
  // The sum is computed over little-endian words and stored as one.
  view.setUint16(at + 10, ~onesComplementSum(view, at, IPV4_HEADER) & 0xffff, true);
  writeEcho(bytes.subarray(at + IPV4_HEADER), ICMP_HEADER + ECHO_DATA, echo);
  return bytes;
}

/** Decodes a frame. @returns `undefined` for other types and for short frames */
export function decodeFrame(bytes: Uint8Array<ArrayBuffer>): ArpFrame | EchoFrame | undefined {
  if (bytes.length < ETH_HLEN) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const type = view.getUint16(12);
  if (type === ETHERTYPE_ARP) return decodeArp(bytes, view);
  if (type !== ETH_P_IP) return undefined;
  const packet = decodeEchoPacket(view, ETH_HLEN, bytes.length);
  if (packet === undefined) return undefined;
  const { source, destination, echo } = packet;
  return {
    type: "echo",
    source: { mac: formatMac(view, 6), address: source },
    destination: { mac: formatMac(view, 0), address: destination },
    echo,
  };
}

function decodeArp(bytes: Uint8Array, view: DataView): ArpFrame | undefined {
  const at = ETH_HLEN;
  if (bytes.length < at + ARP_LENGTH) return undefined;
  if (ARP_ETHERNET_IPV4.some((byte, offset) => bytes[at + offset] !== byte)) return undefined;
  const operation = view.getUint16(at + 6);
  if (operation !== ARP_REQUEST && operation !== ARP_REPLY) return undefined;
  return {
    type: "arp",
    isReply: operation === ARP_REPLY,
    sender: readStation(view, at + 8),
    target: readStation(view, at + 18),
  };
}

/**
 * Decodes an ICMP echo message in the IPv4 packet from `start` to `end`. Its token is a view of the packet.
 *
 * @returns `undefined` for other packets and for short ones
 */
export function decodeEchoPacket(
  view: DataView,
  start: number,
  end: number,
): { readonly source: IPv4; readonly destination: IPv4; readonly echo: EchoMessage } | undefined {
  const icmp = skipIpHeader(view, start, end);
  const echo = icmp === undefined ? undefined : readEcho(view, icmp, end);
  if (echo === undefined || echo.token.length < TOKEN) return undefined;
  return { source: view.getUint32(start + 12), destination: view.getUint32(start + 16), echo };
}

function ethernet(length: number, to: Mac, from: Mac, type: number) {
  const bytes = new Uint8Array(new ArrayBuffer(ETH_HLEN + length));
  const view = new DataView(bytes.buffer);
  writeMac(bytes, 0, to);
  writeMac(bytes, 6, from);
  view.setUint16(12, type);
  return { bytes, view };
}

function writeStation(bytes: Uint8Array, view: DataView, at: number, { mac, address }: Station) {
  writeMac(bytes, at, mac);
  view.setUint32(at + 6, address);
}

function readStation(view: DataView, at: number): Station {
  return { mac: formatMac(view, at), address: view.getUint32(at + 6) };
}

function writeMac(bytes: Uint8Array, at: number, mac: Mac): void {
  if (!parseMac(mac, bytes, at)) throw new TypeError(`no MAC: ${mac}`);
}
