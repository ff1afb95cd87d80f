/**
 * The header before each packet of a TUN device with IFF_VNET_HDR: `struct virtio_net_hdr`, 10 bytes, little-endian on
 * x86-64 and arm64 (VIRTIO 1.2, 5.1.6; Linux `include/uapi/linux/virtio_net.h`).
 *
 * @module
 */

/** Bytes of the header. */
export const VIRTIO_HEADER = 10;

/** `flags`: the checksum at csumStart + csumOffset is partial, the sum of the pseudo-header only. */
export const NEEDS_CSUM = 1;
/** `flags`: the writer has verified the checksum. */
export const DATA_VALID = 2;

/** `gsoType`: a single packet. */
export const GSO_NONE = 0;
/** `gsoType`: a TCP over IPv4 GSO packet. */
export const GSO_TCPV4 = 1;
/** `gsoType`: a UDP GSO packet (Linux 6.2). */
export const GSO_UDP_L4 = 5;
/** Bit in `gsoType`: only the first segment may have CWR (RFC 3168 6.1.2). */
export const GSO_ECN = 0x80;

/** Offset of the checksum in a TCP and in a UDP header. */
export const TCP_CHECKSUM = 16;
export const UDP_CHECKSUM = 6;

/** A decoded header, which its owner reuses for each packet. */
export interface VirtioHeader {
  flags: number;
  gsoType: number;
  /** Bytes of all headers of a GSO packet: a hint that may be wrong. */
  headerLength: number;
  /** Payload bytes of each segment but the last. */
  gsoSize: number;
  /** Offset of the first summed byte in the packet. */
  csumStart: number;
  /** Offset of the checksum from csumStart. */
  csumOffset: number;
}

/** Returns the header of a single packet whose checksum is complete or unknown. */
export function plainHeader(): VirtioHeader {
  return { flags: 0, gsoType: GSO_NONE, headerLength: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 };
}

/** Reads the header at `at` into `header`. */
export function readVirtioHeader(view: DataView, at: number, header: VirtioHeader): void {
  header.flags = view.getUint8(at);
  header.gsoType = view.getUint8(at + 1);
  header.headerLength = view.getUint16(at + 2, true);
  header.gsoSize = view.getUint16(at + 4, true);
  header.csumStart = view.getUint16(at + 6, true);
  header.csumOffset = view.getUint16(at + 8, true);
}

/** Writes `header` to `at`. */
export function writeVirtioHeader(view: DataView, at: number, header: VirtioHeader): void {
  view.setUint8(at, header.flags);
  view.setUint8(at + 1, header.gsoType);
  view.setUint16(at + 2, header.headerLength, true);
  view.setUint16(at + 4, header.gsoSize, true);
  view.setUint16(at + 6, header.csumStart, true);
  view.setUint16(at + 8, header.csumOffset, true);
}
