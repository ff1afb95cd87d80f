import { Arena, type Memory } from "../../ffi/arena.ts";
import { Errno, SysError } from "../../ffi/errno.ts";
import { closeDescriptor, errno, libc, unwrap } from "../../ffi/libc.ts";
import { Poller } from "../../ffi/poller.ts";
import { inNetworkNamespace } from "../../namespace.ts";
import { giveReceiveMemory, RECEIVE_MEMORY, takeReceiveMemory } from "./receive_memory.ts";
import { ReceiveVector, type Visit } from "./receive_vector.ts";
import type { Expected, Transport } from "./transport.ts";
import {
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_RAW,
  SOL_SOCKET,
} from "../../linux_constants.ts";

const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;
/** struct sockaddr_nl: u16 family, u16 pad, u32 port (0 is the kernel), u32 groups. */
const SOCKADDR_NL_LENGTH = 12;

/** Socket options of SOL_NETLINK (linux/netlink.h), with the release that brought them. */
const SOL_NETLINK = 270;
/** 4.2: an error does not echo the request's payload. */
const NETLINK_CAP_ACK = 10;
/** 4.12: an error carries its reason as text. */
const NETLINK_EXT_ACK = 11;
/** 4.20: dumps are filtered in the kernel, nonsense in a request is an error. */
const NETLINK_GET_STRICT_CHK = 12;

const ANSWER_TIMEOUT_MS = 1000;

/**
 * Longest send: some 400 operations. 15,000 objects (5,000 routes, neighbours, FDB entries) took 25.5 ms
 * in sends of 4 KiB, 24 ms in sends of 32, and no less in larger ones (medians of 7), since one object
 * costs the kernel 1.5 us; longer sends would only ask for more room for their errors.
 */
const SEND_LIMIT = 32 * 1024;

/**
 * Asked for with SO_RCVBUFFORCE; the kernel doubles it. It is a limit, not an allocation. 2 MiB hold
 * 1,024 errors, twice what fits into one send.
 */
const RECEIVE_BUFFER = 1024 * 1024;

/**
 * Most bytes that an acknowledgement takes from the receive buffer: 768 to 1,280 were seen (an sk_buff, its
 * data and the kernel's text), for any length of its own.
 */
const ACKNOWLEDGEMENT_COST = 2048;

/** The kernel never builds a dump message longer than 32 KiB less overhead (af_netlink.c). */
const DUMP_SLOT = 32 * 1024;
const DUMP_SLOTS = RECEIVE_MEMORY / DUMP_SLOT;
/** An error with its text has under 200 bytes. */
const ACKNOWLEDGEMENT_SLOT = 1024;

/** Where to open a netlink socket. */
export interface NetlinkSocketOptions {
  /**
   * Path of a network namespace (`/run/netns/NAME`).
   *
   * @default the calling thread's
   */
  readonly netns?: string | undefined;
}

/**
 * A socket to the kernel, of NETLINK_ROUTE as a rule.
 *
 * Everything is synchronous: rtnetlink answers a request while it is being sent, and fills a dump's
 * next part while the last one is being received. Nothing is left to wait for, and a promise per
 * request would cost more than the request.
 */
export class NetlinkSocket implements Transport {
  /** The descriptor. */
  readonly fd: number;
  readonly sendLimit: number;
  readonly messageLimit: number;
  readonly port: number;
  #systemCalls = 0;
  readonly #arena = new Arena();
  readonly #memory: Memory;
  readonly #vectors: Record<Expected, ReceiveVector>;
  readonly #poller: Poller;
  #closed = false;

  /**
   * @param protocol NETLINK_*
   * @param groups multicast groups: bit `n - 1` joins group `n` (RTNLGRP_*, NFNLGRP_*)
   * @throws {SysError} when the namespace or the socket cannot be opened; EPROTONOSUPPORT when the kernel does
   * not have the protocol
   */
  static open(
    options: NetlinkSocketOptions = {},
    protocol = NETLINK_ROUTE,
    groups = 0,
  ): NetlinkSocket {
    return new NetlinkSocket(openSocket(options.netns, groups, protocol));
  }

  private constructor(fd: number) {
    this.fd = fd;
    try {
      for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
        enableIfKnown(fd, option);
      }
      const sendBuffer = setBufferSize(fd, SO_SNDBUFFORCE, SO_SNDBUF, 2 * SEND_LIMIT);
      const receiveBuffer = setReceiveBuffer(fd, RECEIVE_BUFFER);
      this.sendLimit = Math.min(SEND_LIMIT, sendBuffer >> 1);
      this.messageLimit = Math.max(1, Math.floor(receiveBuffer / ACKNOWLEDGEMENT_COST));
      // Connected to the kernel, the socket takes datagrams from nobody else.
      const kernel = netlinkAddress(0);
      unwrap("connect", libc().connect(fd, kernel, kernel.length));
      this.port = portOf(fd);
    } catch (error) {
      closeDescriptor(fd);
      this.#arena.close();
      throw error;
    }
    const memory = this.#memory = takeReceiveMemory();
    this.#vectors = {
      dump: new ReceiveVector(this.#arena, memory, DUMP_SLOTS),
      acknowledgements: new ReceiveVector(
        this.#arena,
        memory,
        memory.bytes.length / ACKNOWLEDGEMENT_SLOT,
      ),
    };
    this.#poller = new Poller([fd]);
  }

  get systemCalls(): number {
    return this.#systemCalls;
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.#systemCalls++;
    unwrap("send", libc().send(this.#open(), bytes, bytes.length, 0));
  }

  receive(expected: Expected, visit: Visit): number {
    this.#systemCalls++;
    return this.#vectors[expected].receive(this.#open(), visit);
  }

  wait(): void {
    this.#open();
    this.#systemCalls++;
    if (this.#poller.wait(ANSWER_TIMEOUT_MS) !== 0) return;
    throw new SysError("poll", Errno.ETIMEDOUT, { detail: "netlink did not answer" });
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    closeDescriptor(this.fd);
    this.#poller[Symbol.dispose]();
    this.#arena.close();
    giveReceiveMemory(this.#memory);
  }

  /** The descriptor's number may have been used again: never use it after close. */
  #open(): number {
    if (this.#closed) throw new TypeError("the netlink socket is closed");
    return this.fd;
  }
}

/**
 * Opens a netlink socket and binds it to multicast groups.
 *
 * @param netns path of a network namespace; `undefined` is the thread's own
 * @param groups bit `n - 1` joins group `n` (RTNLGRP_*, NFNLGRP_*)
 * @param protocol NETLINK_*. @default NETLINK_ROUTE
 * @throws {SysError}
 */
export function openSocket(
  netns: string | undefined,
  groups = 0,
  protocol = NETLINK_ROUTE,
): number {
  const fd = inNetworkNamespace(
    netns,
    () => unwrap("socket", libc().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)),
  );
  try {
    const address = netlinkAddress(groups);
    unwrap("bind", libc().bind(fd, address, address.length));
  } catch (error) {
    closeDescriptor(fd);
    throw error;
  }
  return fd;
}

/**
 * Sets how much a socket may queue, over net.core.rmem_max where we may (CAP_NET_ADMIN).
 *
 * @param size bytes, before the kernel doubles it
 * @returns the limit in bytes of kernel memory, not of payload
 */
export function setReceiveBuffer(fd: number, size: number): number {
  return setBufferSize(fd, SO_RCVBUFFORCE, SO_RCVBUF, size);
}

function setBufferSize(fd: number, forced: number, plain: number, size: number): number {
  const value = int32(size);
  if (libc().setsockopt(fd, SOL_SOCKET, forced, value, 4) === -1) {
    unwrap("setsockopt", libc().setsockopt(fd, SOL_SOCKET, plain, value, 4));
  }
  unwrap("getsockopt", libc().getsockopt(fd, SOL_SOCKET, plain, value, int32(4)));
  return new DataView(value.buffer).getInt32(0, true);
}

function enableIfKnown(fd: number, option: number): void {
  if (libc().setsockopt(fd, SOL_NETLINK, option, int32(1), 4) === -1) {
    const number = errno();
    if (number !== Errno.ENOPROTOOPT) throw new SysError("setsockopt", number);
  }
}

function portOf(fd: number): number {
  const address = netlinkAddress(0);
  unwrap("getsockname", libc().getsockname(fd, address, int32(address.length)));
  return new DataView(address.buffer).getUint32(4, true);
}

function netlinkAddress(groups: number): Uint8Array<ArrayBuffer> {
  const address = new DataView(new ArrayBuffer(SOCKADDR_NL_LENGTH));
  address.setUint16(0, AF_NETLINK, true);
  address.setUint32(8, groups, true);
  return new Uint8Array(address.buffer);
}

function int32(value: number): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(4));
  view.setInt32(0, value, true);
  return new Uint8Array(view.buffer);
}
