/**
 * The two ends between which the router carries packets: TUN device and UDP socket. tun_queue.ts and udp_socket.ts
 * implement them with the kernel; unit tests implement them in memory.
 *
 * Errors are results, not exceptions: a negative number is a negated errno. The calls run 200,000 times a second,
 * where an exception would cost most, and most errors are a full buffer.
 *
 * @module
 */
import type { IPv4 } from "../../../mod/ip/mod.ts";
import type { FrameVector } from "./packet/frames.ts";
import type { MergerOptions } from "./packet/merge.ts";
import type { VirtioHeader } from "./packet/virtio.ts";
import type { SegmentBatches } from "./socket/segment_batches.ts";
import type { WorkerCounters } from "./counters.ts";
import type { PacketMemory } from "./packet/memory.ts";
import type { PeerLookup } from "./peer_lookup.ts";

/** The TUN device: reads and writes IPv4 packets, GSO packets among them. */
export interface PacketDevice {
  /** Kinds of GSO packets that may be written; the router turns one off when the kernel refuses it. */
  readonly segmentation: { -readonly [Kind in keyof MergerOptions]: MergerOptions[Kind] };

  /**
   * Reads one packet.
   *
   * @param offset of the packet in packet memory; up to 65,535 bytes are written there
   * @param header receives the packet's virtio header
   * @returns length in bytes; 0 when none is waiting; -errno
   */
  read(offset: number, header: VirtioHeader): number;

  /**
   * Writes the frames of a vector in order, beginning with frame `from`.
   *
   * @returns number of frames written, at least 1; or -errno of frame `from`
   */
  write(frames: FrameVector, from: number): number;
}

/** The UDP socket: sends and receives segment batches. */
export interface DatagramSocket {
  /**
   * Sends batches in order, beginning with batch `from`. Never waits: a full socket buffer is -EAGAIN. After a
   * partial send `batches` has the unsent rest of the batch.
   *
   * @returns number of batches sent whole, at least 1; or -errno of batch `from`
   */
  send(batches: SegmentBatches, from: number): number;

  /**
   * Receives batches that have arrived. Their packets stay in place until the next call.
   *
   * @returns number of batches; 0 when none is waiting; -errno
   */
  receive(batches: SegmentBatches): number;

  /**
   * Sends a single datagram.
   *
   * @param fragment lets the kernel fragment it by the path MTU
   * @returns 0, or -errno
   */
  sendOne(to: IPv4, offset: number, length: number, fragment: boolean): number;

  /**
   * Reads the path MTU to a peer. Takes several system calls: for use after a failed send.
   *
   * @returns bytes of the largest IP packet; 0 when the kernel knows none
   */
  pathMtu(to: IPv4): number;

  /** Maximum number of packets in a batch. */
  readonly maxSegments: number;
  /** Maximum number of batches that `receive()` returns. */
  readonly maxReceived: number;
}

/** Bytes of IPv4 and UDP header around each packet: 20 and 8. */
export const OVERHEAD = 28;

/** Parts that a `Router` connects. */
export interface RouterParts {
  readonly memory: PacketMemory;
  readonly device: PacketDevice;
  readonly socket: DatagramSocket;
  readonly peers: PeerLookup;
  readonly counters: WorkerCounters;
  /** Clock in milliseconds, for the rate limit of ICMP errors. @default performance.now */
  readonly now?: () => number;
}
