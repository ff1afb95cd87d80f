import type { IPv4 } from "../../../../mod/ip/mod.ts";
import { Errno } from "../../../../mod/sys/ffi/errno.ts";
import { errno, libc } from "../../../../mod/sys/ffi/libc.ts";
import { type DatagramSocket, OVERHEAD } from "../device.ts";
import { baseAddress } from "../packet/iovec.ts";
import { MessageVector } from "./message_vector.ts";
import { MAX_PACKET } from "../packet/ipv4.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { allowFragments, pathMtu, type Socket } from "./socket.ts";
import type { TrainVector } from "./segment_batches.ts";
import { MSG_DONTWAIT } from "../../../../mod/sys/linux_constants.ts";

/** Messages of one sendmmsg(2). */
const SEND_BATCH = 64;
/**
 * Messages of one recvmmsg(2). Where the kernel coalesces, eight trains of 64 KB stay in the
 * second-level cache until they are written to the device. Where a wire without receive offload
 * hands over packet by packet, a whole super-packet's worth is taken at a time, once a few of them have
 * come at once: with room for all, the first burst of trains would take 3 MB, for good.
 */
const TRAIN_BATCH = 8;
const PACKET_BATCH = 48;
/** A batch of longer messages than this, on average, is one of trains. */
const TRAIN_BYTES = 4096;
/** Room for a train: off the powers of two, so that not all begin at the same line of the cache. */
const TRAIN_ROOM = MAX_PACKET + 1 + 25 * 64;
/** Room for one datagram where none is coalesced: jumbo frames pass, larger ones are truncated. */
const PACKET_ROOM = 9216 + 64;
/** UDP_MAX_SEGMENTS of Linux: 64 until 6.9, then 128. */
const MAX_SEGMENTS = 128;
const OLD_MAX_SEGMENTS = 64;

/** Options of {@linkcode UdpSocket}. */
export interface UdpSocketOptions {
  /** UDP port of every peer. */
  readonly port: number;
}

/** The tunnel's socket, for one worker. */
export class UdpSocket implements DatagramSocket {
  readonly #fd: number;
  readonly #base: number;
  readonly #port: number;
  #segmentation: boolean;
  #maxSegments = MAX_SEGMENTS;
  /** Offsets of the message vectors: sending, receiving. */
  readonly #out: MessageVector;
  readonly #in: MessageVector;
  readonly #inBuffer: number;
  readonly #inRoom: number;
  /** Messages of the next receive, by what the last one brought. */
  #receiveSize = TRAIN_BATCH;
  /** Per message of a batch: the train it is of. */
  readonly #trainOf = new Int32Array(SEND_BATCH);

  /** Bytes of packet memory that a socket takes; most of them are never touched. */
  static readonly MEMORY: number = PACKET_BATCH * TRAIN_ROOM + 64 * 1024;

  /** @param memory holds the packets; the socket takes {@linkcode UdpSocket.MEMORY} for itself */
  constructor(socket: Socket, memory: PacketMemory, options: UdpSocketOptions) {
    this.#fd = socket.fd;
    this.#base = baseAddress(memory);
    this.#port = options.port;
    this.#segmentation = socket.segmentation;
    this.#out = new MessageVector(memory, SEND_BATCH);
    this.#in = new MessageVector(memory, PACKET_BATCH);
    this.#inRoom = socket.coalescing ? TRAIN_ROOM : PACKET_ROOM;
    this.#inBuffer = memory.allocate(PACKET_BATCH * this.#inRoom);
    for (let i = 0; i < PACKET_BATCH; i++) {
      this.#in.reset(i);
      this.#in.setData(i, this.#base + this.#inBuffer + i * this.#inRoom, this.#inRoom);
    }
  }

  /** True while trains are sent as such; false when each packet is a message. */
  get segmentation(): boolean {
    return this.#segmentation;
  }

  get maxSegments(): number {
    return this.#maxSegments;
  }

  get receiveBatch(): number {
    return this.#in.capacity;
  }

  send(trains: TrainVector, from: number): number {
    let train = from;
    while (train < trains.count) {
      const messages = this.#fill(trains, train);
      const sent = libc().sendmmsg(this.#fd, this.#out.bytes, messages, MSG_DONTWAIT);
      if (sent < 0) {
        let error = errno();
        if (error === Errno.EINVAL && this.#isTooBig(trains, train)) error = Errno.EMSGSIZE;
        else if (this.#adapt(error, trains, train)) continue;
        return train > from ? train - from : -error;
      }
      train = this.#advance(trains, sent);
    }
    return train - from;
  }

  receive(trains: TrainVector): number {
    trains.clear();
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
      trains.push(messages.address(i), 0, this.#inBuffer + i * this.#inRoom, length, segment);
      if (messages.truncated(i)) trains.truncated[i] = 1;
      // For the next time, now that the message is in the cache.
      messages.reset(i);
    }
    if (count === 1 || bytes > count * TRAIN_BYTES) this.#receiveSize = TRAIN_BATCH;
    else if (count === TRAIN_BATCH) this.#receiveSize = PACKET_BATCH;
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

  /** Makes messages of the trains from `train` on, as many as fit a batch. */
  #fill(trains: TrainVector, train: number): number {
    let messages = 0;
    for (; train < trains.count && messages < SEND_BATCH; train++) {
      const length = trains.length[train]!;
      const segment = trains.segment[train]!;
      const address = trains.address[train]!;
      let start = this.#base + trains.offset[train]!;
      // Without segmentation each packet is a message; so are trains that are too long for it.
      const step = this.#segmentation ? segment * this.#maxSegments : segment;
      for (let left = length; left > 0 && messages < SEND_BATCH; messages++) {
        const part = Math.min(step, left);
        const size = part > segment ? segment : 0;
        this.#out.setMessage(messages, address, this.#port, start, part, size);
        this.#trainOf[messages] = train;
        start += part;
        left -= part;
      }
    }
    return messages;
  }

  /**
   * Takes what was sent off the trains.
   *
   * @returns the first train of which something is left
   */
  #advance(trains: TrainVector, sent: number): number {
    let train = 0;
    for (let i = 0; i < sent; i++) {
      train = this.#trainOf[i]!;
      const length = this.#out.length(i);
      trains.offset[train]! += length;
      trains.length[train]! -= length;
    }
    return trains.length[train] === 0 ? train + 1 : train;
  }

  /** Before Linux 6.15 a train of packets that do not fit the path is EINVAL, not EMSGSIZE. */
  #isTooBig(trains: TrainVector, train: number): boolean {
    const mtu = this.pathMtu(trains.address[train]!);
    return mtu !== 0 && trains.segment[train]! + OVERHEAD > mtu;
  }

  /**
   * Gives up what the kernel has refused, so that the same packets can be sent without it.
   *
   * @returns true when there was something to give up
   */
  #adapt(error: number, trains: TrainVector, train: number): boolean {
    const packets = trains.packets(train);
    if (!this.#segmentation || packets === 1) return false;
    if (
      error === Errno.EINVAL && packets > OLD_MAX_SEGMENTS && this.#maxSegments > OLD_MAX_SEGMENTS
    ) {
      this.#maxSegments = OLD_MAX_SEGMENTS;
      return true;
    }
    // EIO: the interface does not compute checksums, which the kernel wants for trains.
    if (error !== Errno.EIO && error !== Errno.EINVAL) return false;
    this.#segmentation = false;
    return true;
  }
}

/** recvmmsg's timeout is an optional pointer. */
const NO_TIMEOUT = null as unknown as Uint8Array<ArrayBuffer>;
