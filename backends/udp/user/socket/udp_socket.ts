import type { IPv4 } from "../../../../mod/ip/mod.ts";
import { Errno } from "../../../../mod/sys/ffi/errno.ts";
import { errno, libc } from "../../../../mod/sys/ffi/libc.ts";
import { type DatagramSocket, OVERHEAD } from "../device.ts";
import { baseAddress } from "../packet/iovec.ts";
import { MessageVector } from "./message_vector.ts";
import { MAX_PACKET } from "../packet/ipv4.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { allowFragments, pathMtu, type Socket } from "./socket.ts";
import type { SegmentBatches } from "./segment_batches.ts";
import { MSG_DONTWAIT } from "../../../../mod/sys/linux_constants.ts";

/** Messages of one sendmmsg(2). */
const SEND_BATCH = 64;
/**
 * Messages of one recvmmsg(2). With GRO, eight batches of 64 KB stay in the second-level cache until they are
 * written to the device. A wire without receive offload delivers single packets: then a call receives as many as a
 * GSO packet has segments. The larger number is used only after a full call of single packets, because a burst of
 * that many batches would touch 3 MB of memory, which stays resident.
 */
const GRO_MESSAGES = 8;
const SINGLE_MESSAGES = 48;
/** Mean bytes of received messages above which they are segment batches, not single packets. */
const GRO_MEAN_BYTES = 4096;
/** Buffer of a segment batch: not a power of two, so that buffers begin at different cache lines. */
const GRO_BUFFER_BYTES = MAX_PACKET + 1 + 25 * 64;
/** Buffer of a datagram without GRO: holds a jumbo frame; a longer datagram is truncated. */
const SINGLE_BUFFER_BYTES = 9216 + 64;
/** UDP_MAX_SEGMENTS of Linux: 64 before 6.9, then 128. */
const MAX_SEGMENTS = 128;
const OLD_MAX_SEGMENTS = 64;

/** Options of {@linkcode UdpSocket}. */
export interface UdpSocketOptions {
  /** UDP port of every peer. */
  readonly port: number;
}

/** The tunnel's socket of one worker. */
export class UdpSocket implements DatagramSocket {
  readonly #fd: number;
  readonly #base: number;
  readonly #port: number;
  #gso: boolean;
  #maxSegments = MAX_SEGMENTS;
  readonly #out: MessageVector;
  readonly #in: MessageVector;
  readonly #inBuffer: number;
  readonly #inRoom: number;
  /** Messages of the next receive: depends on the last one's. */
  #receiveSize = GRO_MESSAGES;
  /** By message of a sendmmsg(2): index of its batch. */
  readonly #batchOf = new Int32Array(SEND_BATCH);

  /** Bytes of packet memory that a socket allocates; most of them are never touched. */
  static readonly MEMORY: number = SINGLE_MESSAGES * GRO_BUFFER_BYTES + 64 * 1024;

  /** @param memory holds the packets; the socket allocates {@linkcode UdpSocket.MEMORY} bytes of it */
  constructor(socket: Socket, memory: PacketMemory, options: UdpSocketOptions) {
    this.#fd = socket.fd;
    this.#base = baseAddress(memory);
    this.#port = options.port;
    this.#gso = socket.gso;
    this.#out = new MessageVector(memory, SEND_BATCH);
    this.#in = new MessageVector(memory, SINGLE_MESSAGES);
    this.#inRoom = socket.gro ? GRO_BUFFER_BYTES : SINGLE_BUFFER_BYTES;
    this.#inBuffer = memory.allocate(SINGLE_MESSAGES * this.#inRoom);
    for (let i = 0; i < SINGLE_MESSAGES; i++) {
      this.#in.reset(i);
      this.#in.setData(i, this.#base + this.#inBuffer + i * this.#inRoom, this.#inRoom);
    }
  }

  /** True while batches are sent by UDP_SEGMENT; false while each packet is a message. */
  get gso(): boolean {
    return this.#gso;
  }

  get maxSegments(): number {
    return this.#maxSegments;
  }

  get maxReceived(): number {
    return this.#in.capacity;
  }

  send(batches: SegmentBatches, from: number): number {
    let batch = from;
    while (batch < batches.count) {
      const messages = this.#fill(batches, batch);
      const sent = libc().sendmmsg(this.#fd, this.#out.bytes, messages, MSG_DONTWAIT);
      if (sent < 0) {
        let error = errno();
        if (error === Errno.EINVAL && this.#isTooBig(batches, batch)) error = Errno.EMSGSIZE;
        else if (this.#adapt(error, batches, batch)) continue;
        return batch > from ? batch - from : -error;
      }
      batch = this.#advance(batches, sent);
    }
    return batch - from;
  }

  receive(batches: SegmentBatches): number {
    batches.clear();
    const messages = this.#in;
    const count = libc().recvmmsg(
      this.#fd,
      messages.bytes,
      this.#receiveSize,
      MSG_DONTWAIT,
      NO_TIMEOUT,
    );
    if (count < 0) {
      const error = errno();
      return error === Errno.EAGAIN || error === Errno.EINTR ? 0 : -error;
    }
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const length = messages.received(i);
      bytes += length;
      const segment = messages.groSize(i) || length;
      batches.push(messages.address(i), 0, this.#inBuffer + i * this.#inRoom, length, segment);
      if (messages.truncated(i)) batches.truncated[i] = 1;
      // Here, because the message is in the cache now.
      messages.reset(i);
    }
    if (count === 1 || bytes > count * GRO_MEAN_BYTES) this.#receiveSize = GRO_MESSAGES;
    else if (count === GRO_MESSAGES) this.#receiveSize = SINGLE_MESSAGES;
    return count;
  }

  sendOne(to: IPv4, offset: number, length: number, fragment: boolean): number {
    if (fragment) allowFragments(this.#fd, true);
    this.#out.setMessage(0, to, this.#port, this.#base + offset, length, 0);
    const sent = libc().sendmmsg(this.#fd, this.#out.bytes, 1, MSG_DONTWAIT);
    const result = sent < 0 ? -errno() : 0;
    if (fragment) allowFragments(this.#fd, false);
    return result;
  }

  pathMtu(to: IPv4): number {
    return pathMtu(to);
  }

  /**
   * Fills the messages of a sendmmsg(2) with batches, beginning with `batch`.
   *
   * @returns number of messages
   */
  #fill(batches: SegmentBatches, batch: number): number {
    let messages = 0;
    for (; batch < batches.count && messages < SEND_BATCH; batch++) {
      const length = batches.length[batch]!;
      const segment = batches.segment[batch]!;
      const address = batches.address[batch]!;
      let start = this.#base + batches.offset[batch]!;
      // Without GSO each packet is a message. With it a batch of too many packets is split into several messages.
      const step = this.#gso ? segment * this.#maxSegments : segment;
      for (let left = length; left > 0 && messages < SEND_BATCH; messages++) {
        const part = Math.min(step, left);
        const size = part > segment ? segment : 0;
        this.#out.setMessage(messages, address, this.#port, start, part, size);
        this.#batchOf[messages] = batch;
        start += part;
        left -= part;
      }
    }
    return messages;
  }

  /**
   * Removes sent packets from the batches.
   *
   * @returns index of the first batch that has packets left
   */
  #advance(batches: SegmentBatches, sent: number): number {
    let batch = 0;
    for (let i = 0; i < sent; i++) {
      batch = this.#batchOf[i]!;
      const length = this.#out.length(i);
      batches.offset[batch]! += length;
      batches.length[batch]! -= length;
    }
    return batches.length[batch] === 0 ? batch + 1 : batch;
  }

  /** Before Linux 6.15 a batch whose packets exceed the path MTU fails with EINVAL, not EMSGSIZE. */
  #isTooBig(batches: SegmentBatches, batch: number): boolean {
    const mtu = this.pathMtu(batches.address[batch]!);
    return mtu !== 0 && batches.segment[batch]! + OVERHEAD > mtu;
  }

  /**
   * Reduces the use of GSO after an error, so that the same packets can be sent again.
   *
   * @returns true when something was reduced
   */
  #adapt(error: number, batches: SegmentBatches, batch: number): boolean {
    const packets = batches.packets(batch);
    if (!this.#gso || packets === 1) return false;
    if (
      error === Errno.EINVAL && packets > OLD_MAX_SEGMENTS && this.#maxSegments > OLD_MAX_SEGMENTS
    ) {
      this.#maxSegments = OLD_MAX_SEGMENTS;
      return true;
    }
    // EIO: the interface does not compute checksums, which the kernel requires for GSO.
    if (error !== Errno.EIO && error !== Errno.EINVAL) return false;
    this.#gso = false;
    return true;
  }
}

/** recvmmsg's optional timeout pointer. */
const NO_TIMEOUT = null as unknown as Uint8Array<ArrayBuffer>;
