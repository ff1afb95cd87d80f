import type { IPv4 } from "../../../../mod/ip/mod.ts";
import { baseAddress, IOVEC, writeIovec, writePointer } from "../packet/iovec.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { SOL_UDP, UDP_GRO, UDP_SEGMENT } from "./socket.ts";
import { AF_INET, MSG_TRUNC, SOCKADDR_IN_LENGTH } from "../../../../mod/sys/linux_constants.ts";

/** `struct mmsghdr` on 64-bit Linux: a `struct msghdr` of 56 bytes, then msg_len. */
const MMSGHDR = 64;
const MSG_NAME = 0;
const MSG_NAMELEN = 8;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const MSG_FLAGS = 48;
const MSG_LEN = 56;
/** `struct cmsghdr`: a size_t, level and type, then the data; aligned to 8 bytes. */
const CMSG_LEVEL = 8;
const CMSG_TYPE = 12;
const CMSG_DATA = 16;
const CMSG_SPACE = 24;
/** Lengths of the two control messages: a u16 to the kernel, an int from it. */
const SEGMENT_CMSG = CMSG_DATA + 2;
const GRO_CMSG = CMSG_DATA + 4;

/** An array of `struct mmsghdr`, each with an address, one iovec and one control message. */
export class MessageVector {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  readonly #messages: number;
  readonly #names: number;
  readonly #iovecs: number;
  readonly #controls: number;

  constructor(memory: PacketMemory, readonly capacity: number) {
    const base = baseAddress(memory);
    const view = this.#view = memory.view;
    this.#messages = memory.allocate(capacity * MMSGHDR);
    this.#names = memory.allocate(capacity * SOCKADDR_IN_LENGTH);
    this.#iovecs = memory.allocate(capacity * IOVEC);
    this.#controls = memory.allocate(capacity * CMSG_SPACE);
    this.bytes = memory.bytes.subarray(this.#messages, this.#messages + capacity * MMSGHDR);
    for (let i = 0; i < capacity; i++) {
      const message = this.at(i);
      writePointer(view, message + MSG_NAME, base + this.#names + i * SOCKADDR_IN_LENGTH);
      view.setUint32(message + MSG_NAMELEN, SOCKADDR_IN_LENGTH, true);
      writePointer(view, message + MSG_IOV, base + this.#iovecs + i * IOVEC);
      view.setUint32(message + MSG_IOVLEN, 1, true);
      writePointer(view, message + MSG_CONTROL, base + this.#controls + i * CMSG_SPACE);
      view.setUint16(this.#names + i * SOCKADDR_IN_LENGTH, AF_INET, true);
      const control = this.#controls + i * CMSG_SPACE;
      view.setUint32(control, SEGMENT_CMSG, true);
      view.setUint32(control + CMSG_LEVEL, SOL_UDP, true);
      view.setUint32(control + CMSG_TYPE, UDP_SEGMENT, true);
    }
  }

  /** Offset of a message in packet memory. */
  at(index: number): number {
    return this.#messages + index * MMSGHDR;
  }

  /** Bytes of a message's data. */
  length(index: number): number {
    return this.#view.getUint32(this.#iovecs + index * IOVEC + 8, true);
  }

  setData(index: number, address: number, length: number): void {
    writeIovec(this.#view, this.#iovecs + index * IOVEC, address, length);
  }

  /** @param segment bytes of each packet of a batch; 0 for a single datagram */
  setMessage(
    index: number,
    to: IPv4,
    port: number,
    address: number,
    length: number,
    segment: number,
  ): void {
    const view = this.#view;
    const name = this.#names + index * SOCKADDR_IN_LENGTH;
    view.setUint16(name + 2, port);
    view.setUint32(name + 4, to);
    this.setData(index, address, length);
    view.setUint32(this.at(index) + MSG_CONTROLLEN, segment === 0 ? 0 : CMSG_SPACE, true);
    view.setUint16(this.#controls + index * CMSG_SPACE + CMSG_DATA, segment, true);
  }

  /** Prepares a message for receiving: restores the lengths that the kernel overwrites. */
  reset(index: number): void {
    const message = this.at(index);
    this.#view.setUint32(message + MSG_NAMELEN, SOCKADDR_IN_LENGTH, true);
    this.#view.setUint32(message + MSG_CONTROLLEN, CMSG_SPACE, true);
  }

  /** Bytes that arrived in a message. */
  received(index: number): number {
    return this.#view.getUint32(this.at(index) + MSG_LEN, true);
  }

  /** Returns whether a datagram was longer than its buffer. */
  truncated(index: number): boolean {
    return (this.#view.getUint32(this.at(index) + MSG_FLAGS, true) & MSG_TRUNC) !== 0;
  }

  /** Source address of a received message. */
  address(index: number): IPv4 {
    return this.#view.getUint32(this.#names + index * SOCKADDR_IN_LENGTH + 4);
  }

  /** Bytes of each datagram in a received message; 0 for a single datagram. */
  groSize(index: number): number {
    const view = this.#view;
    const control = this.#controls + index * CMSG_SPACE;
    return view.getUint32(this.at(index) + MSG_CONTROLLEN, true) >= GRO_CMSG &&
        view.getUint32(control + CMSG_LEVEL, true) === SOL_UDP &&
        view.getUint32(control + CMSG_TYPE, true) === UDP_GRO
      ? view.getUint32(control + CMSG_DATA, true)
      : 0;
  }
}
