/**
 * What the router asks of the kernel: two interfaces of a few calls. The TUN device and the UDP
 * socket implement them (tun_queue.ts, udp_socket.ts); the router's unit tests use fakes in memory.
 *
 * Errors are results, not exceptions: a negative number is a negated errno. On a path that runs
 * 200,000 times a second an exception would be the slowest thing, and most errors are a full
 * buffer.
 *
 * @module
 */
import type { IPv4 } from "../../../mod/ip/mod.ts";
import type { FrameVector } from "./packet/frames.ts";
import type { MergerOptions } from "./packet/merge.ts";
import type { VirtioHeader } from "./packet/virtio.ts";
import type { TrainVector } from "./socket/segment_batches.ts";

/** The end of the tunnel on this host: gives and takes IPv4 packets and super-packets. */
export interface PacketDevice {
  /** Super-packets that it takes; turned off by the router when the kernel refuses one. */
  readonly segmentation: { -readonly [Kind in keyof MergerOptions]: MergerOptions[Kind] };

  /**
   * Reads one packet.
   *
   * @param offset in packet memory; 65,535 bytes from there may be written
   * @param header is filled in
   * @returns length in bytes; 0 when none is waiting; -errno
   */
  read(offset: number, header: VirtioHeader): number;

  /**
   * Writes the frames of a vector in order, beginning with frame `from`.
   *
   * @returns how many were written, at least 1; or -errno of frame `from`
   */
  write(frames: FrameVector, from: number): number;
}

/** The end towards the other hosts: gives and takes trains of datagrams. */
export interface DatagramSocket {
  /**
   * Sends trains in order, beginning with train `from`. Never waits: what does not fit into the
   * socket's buffer is refused. Of a train that was sent in part, the vector keeps the rest.
   *
   * @returns how many were sent whole, at least 1; or -errno of train `from`
   */
  send(trains: TrainVector, from: number): number;

  /**
   * Fills the vector with what has arrived; the packets stay in place until the next call.
   *
   * @returns how many trains; 0 when nothing is waiting; -errno
   */
  receive(trains: TrainVector): number;

  /**
   * Sends one datagram apart from the others.
   *
   * @param fragment true lets the kernel cut it into IP fragments where the path is narrow
   * @returns 0, or -errno
   */
  sendOne(to: IPv4, offset: number, length: number, fragment: boolean): number;

  /**
   * What the kernel knows of the path to a peer. Several system calls: for when a send has failed.
   *
   * @returns largest IP packet in bytes; 0 when it cannot be told
   */
  pathMtu(to: IPv4): number;

  /** Most packets that one train may have. */
  readonly maxSegments: number;
  /** Most trains that one `receive()` gives. */
  readonly receiveBatch: number;
}

/** Most bytes in one UDP datagram over IPv4, and so in one train: 65,535 less both headers. */
export const MAX_TRAIN = 65507;

/** What IPv4 and UDP put around each packet: 20 and 8 bytes. */
export const OVERHEAD = 28;
