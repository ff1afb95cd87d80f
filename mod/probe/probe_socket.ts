import { formatIPv4, type IPv4 } from "../ip/mod.ts";
import {
  Arena,
  closeDescriptor,
  Errno,
  errno,
  EventFd,
  inNetworkNamespace,
  libc,
  type Memory,
  Poller,
  SysError,
  unwrap,
} from "../sys/mod.ts";
import {
  type Control,
  type ExtendedError,
  IP_PKTINFO,
  IP_RECVERR,
  readControl,
  SO_TIMESTAMPNS,
} from "./control.ts";
import {
  attachFilter,
  echoFilter,
  type EchoMark,
  messageFilter,
  nothingFilter,
} from "./echo_filter.ts";
import { ECHO_REPLY, ECHO_REQUEST } from "./echo_message.ts";
import {
  AF_INET,
  IP_MTU_DISCOVER,
  IPPROTO_ICMP,
  MSG_DONTWAIT,
  SO_RCVBUF,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCKADDR_IN_LENGTH,
  SOL_IP,
  SOL_SOCKET,
} from "../sys/linux_constants.ts";

/** linux/in.h, linux/icmp.h, linux/socket.h, linux/time.h. */
const IP_PMTUDISC_DONT = 0;
/** Sets DF and ignores the cached path MTU: only the device's own MTU applies. */
const IP_PMTUDISC_PROBE = 3;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
/** Bits of the filtered types: all but one. Errors arrive in the error queue. */
const ALL_BUT_REPLIES = ~(1 << ECHO_REPLY);
const ALL_BUT_REQUESTS = ~(1 << ECHO_REQUEST);
const MSG_ERRQUEUE = 0x2000;
const CLOCK_REALTIME = 0;

/** Length of struct msghdr (64 bits) and offsets of its fields. */
const MSGHDR = {
  length: 56,
  name: 0,
  namelen: 8,
  iov: 16,
  iovlen: 24,
  control: 32,
  controllen: 40,
};
/** Bytes to read of each message: the headers and the token. */
const DATA_LENGTH = 128;
const CONTROL_LENGTH = 256;
/** Receive buffer in bytes: the kernel counts 1,000 short replies as 1 MiB. */
const RECEIVE_BUFFER = 1 << 20;
/** The longest IP packet. */
const MAX_PACKET = 65535;
/** Limit of messages, and of errors, per turn of the event loop. */
const MOST_TAKEN = 256;
/** Limit of consecutive socket errors per call, before the next poll. */
const MOST_ERRORS = 1024;

/** Kind of a probe socket. */
export type ProbeSocketKind =
  /** Needs CAP_NET_RAW; returns packets with their IP header. */
  | "raw"
  /** A raw socket for echo requests instead of replies. */
  | "requests"
  /** icmp(7), for the groups of net.ipv4.ping_group_range; the kernel sets the identifier. */
  | "ping"
  | "udp";

/** A received message, in `view` from 0 to `length`. Valid until the next one. */
export interface Received {
  readonly view: DataView;
  readonly length: number;
  readonly from: IPv4;
  /** Receive time by {@linkcode ProbeSocket.now}; absent without a timestamp of the kernel. */
  readonly at: number | undefined;
  /** Index of the receiving interface; only with a socket of kind `requests`. */
  readonly interface?: number;
}

/** An entry of the error queue, with the quoted part of the sent packet behind its IP header. */
export interface ReceivedError extends ExtendedError {
  readonly view: DataView;
  readonly length: number;
  /** Destination of the sent packet. */
  readonly to: IPv4;
  readonly port: number;
}

/** Options of {@linkcode ProbeSocket}. */
export interface ProbeSocketOptions {
  /** Path of a network namespace. @default the calling thread's */
  readonly netns?: string | undefined;
  /** An address of this host to bind to. @default none: the kernel chooses the source */
  readonly source?: IPv4 | undefined;
}

/** A socket that sends probes and receives their replies and ICMP errors. */
export class ProbeSocket {
  readonly kind: ProbeSocketKind;
  /** Buffer for the next packet, without its IP header. */
  readonly outgoing: Uint8Array<ArrayBuffer>;
  readonly #fd: number;
  readonly #wakeup: EventFd;
  readonly #poller: Poller;
  readonly #arena = new Arena();
  readonly #name: Memory;
  readonly #data: Memory;
  readonly #control: Memory;
  readonly #header: Memory;
  readonly #clock: Memory;
  readonly #epoch: number;
  readonly #destination = new DataView(new ArrayBuffer(SOCKADDR_IN_LENGTH));
  #dontFragment: boolean | undefined;

  /**
   * Opens a socket for ICMP echo requests: a raw socket, or without CAP_NET_RAW a ping socket.
   *
   * @param mark mark of the replies to receive
   * @throws {SysError} EPERM or EACCES when neither is permitted
   */
  static icmp(mark: EchoMark, options: ProbeSocketOptions = {}): ProbeSocket {
    try {
      return new ProbeSocket("raw", open(SOCK_RAW, IPPROTO_ICMP, options), echoFilter("raw", mark));
    } catch (error) {
      if (!(error instanceof SysError) || error.errno !== Errno.EPERM) throw error;
      const fd = open(SOCK_DGRAM, IPPROTO_ICMP, options);
      return new ProbeSocket("ping", fd, echoFilter("ping", mark));
    }
  }

  /**
   * Opens a raw socket for echo requests whose data begins with `prefix`; the kernel drops all others before
   * this process wakes up.
   *
   * @param prefix whole words of 4 bytes
   * @throws {SysError} EPERM without CAP_NET_RAW
   */
  static echoRequests(prefix: Uint8Array, options: ProbeSocketOptions = {}): ProbeSocket {
    const filter = messageFilter({ type: ECHO_REQUEST, data: prefix });
    return new ProbeSocket("requests", open(SOCK_RAW, IPPROTO_ICMP, options), filter);
  }

  /**
   * Opens a UDP socket on a port of the kernel's choice, which receives errors but no datagrams.
   *
   * @throws {SysError}
   */
  static udp(options: ProbeSocketOptions = {}): ProbeSocket {
    return new ProbeSocket("udp", open(SOCK_DGRAM, 0, options), nothingFilter());
  }

  private constructor(kind: ProbeSocketKind, fd: number, filter: Uint8Array<ArrayBuffer>) {
    this.kind = kind;
    this.#fd = fd;
    try {
      attachFilter(fd, filter);
      unwrap("IP_RECVERR", setOption(fd, SOL_IP, IP_RECVERR, 1));
      // Both are optional: without them this thread takes the times, and a flood loses packets.
      setOption(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
      setOption(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
      if (kind === "raw") {
        unwrap("ICMP_FILTER", setOption(fd, SOL_RAW, ICMP_FILTER, ALL_BUT_REPLIES));
      }
      if (kind === "requests") {
        unwrap("ICMP_FILTER", setOption(fd, SOL_RAW, ICMP_FILTER, ALL_BUT_REQUESTS));
        unwrap("IP_PKTINFO", setOption(fd, SOL_IP, IP_PKTINFO, 1));
      }
      this.#wakeup = new EventFd();
    } catch (error) {
      closeDescriptor(fd);
      this.#arena.close();
      throw error;
    }
    this.outgoing = this.#arena.allocate(MAX_PACKET).bytes;
    this.#name = this.#arena.allocate(SOCKADDR_IN_LENGTH);
    this.#data = this.#arena.allocate(DATA_LENGTH);
    this.#control = this.#arena.allocate(CONTROL_LENGTH);
    const iovec = this.#arena.allocate(16);
    iovec.view.setBigUint64(0, this.#data.address, true);
    iovec.view.setBigUint64(8, BigInt(DATA_LENGTH), true);
    this.#header = this.#arena.allocate(MSGHDR.length);
    this.#header.view.setBigUint64(MSGHDR.name, this.#name.address, true);
    this.#header.view.setBigUint64(MSGHDR.iov, iovec.address, true);
    this.#header.view.setBigUint64(MSGHDR.iovlen, 1n, true);
    this.#header.view.setBigUint64(MSGHDR.control, this.#control.address, true);
    this.#poller = new Poller([fd, this.#wakeup.fd]);
    this.#clock = this.#arena.allocate(16);
    this.#destination.setUint16(0, AF_INET, true);
    libc().clock_gettime(CLOCK_REALTIME, this.#clock.bytes);
    this.#epoch = Number(this.#clock.view.getBigInt64(0, true));
  }

  /**
   * Returns CLOCK_REALTIME in milliseconds since about the socket's opening, the clock of the kernel's packet
   * timestamps. It steps when the host's clock is set.
   */
  now(): number {
    libc().clock_gettime(CLOCK_REALTIME, this.#clock.bytes);
    const { view } = this.#clock;
    return this.#milliseconds(
      Number(view.getBigInt64(0, true)),
      Number(view.getBigInt64(8, true)),
    );
  }

  /** Sets DF on later packets. The kernel then refuses packets larger than the device's MTU. */
  setDontFragment(on: boolean): void {
    if (this.#dontFragment === on) return;
    const value = on ? IP_PMTUDISC_PROBE : IP_PMTUDISC_DONT;
    unwrap("IP_MTU_DISCOVER", setOption(this.#fd, SOL_IP, IP_MTU_DISCOVER, value));
    this.#dontFragment = on;
  }

  /**
   * Sends the first `length` bytes of {@linkcode outgoing}.
   *
   * @returns 0, or the error number, which may come from an ICMP error to an earlier packet
   */
  send(length: number, to: IPv4, port = 0): number {
    this.#destination.setUint16(2, port);
    this.#destination.setUint32(4, to);
    const address = new Uint8Array(this.#destination.buffer);
    const sent = libc().sendto(
      ...[this.#fd, this.outgoing, length, MSG_DONTWAIT, address, SOCKADDR_IN_LENGTH] as const,
    );
    return sent === -1 ? errno() : 0;
  }

  /**
   * Receives queued messages, then errors, up to a limit for each, so that a flood does not block the event
   * loop.
   *
   * @returns true when there may be more
   */
  receive(
    onMessage: (message: Received) => void,
    onError: (error: ReceivedError) => void,
  ): boolean {
    let messages = 0;
    for (; messages < MOST_TAKEN; messages++) {
      const length = this.#receive(0);
      if (length === undefined) break;
      const { received, interface: index } = this.#readControl();
      onMessage({
        ...(index === undefined ? {} : { interface: index }),
        ...{ view: this.#data.view, length, from: this.#name.view.getUint32(4) },
        at: received && this.#milliseconds(received.seconds, received.nanoseconds),
      });
    }
    let errors = 0;
    for (; errors < MOST_TAKEN; errors++) {
      const length = this.#receive(MSG_ERRQUEUE);
      if (length === undefined) break;
      const { error } = this.#readControl();
      if (error === undefined) continue;
      const name = this.#name.view;
      onError({
        ...{ view: this.#data.view, length, to: name.getUint32(4), port: name.getUint16(2) },
        ...error,
      });
    }
    return messages === MOST_TAKEN || errors === MOST_TAKEN;
  }

  /** Waits on another thread until a message arrives or {@linkcode wake} is called. */
  async wait(): Promise<void> {
    await this.#poller.waitAsync();
    this.#wakeup.reset();
  }

  /** Makes {@linkcode wait} return. */
  wake(): void {
    this.#wakeup.notify();
  }

  /** Releases all resources. Must not be called during {@linkcode wait}. */
  close(): void {
    closeDescriptor(this.#fd);
    this.#wakeup[Symbol.dispose]();
    this.#poller[Symbol.dispose]();
    this.#arena.close();
  }

  /** @returns number of received bytes, at most {@linkcode DATA_LENGTH} */
  #receive(flags: number): number | undefined {
    const { view, bytes } = this.#header;
    for (let errors = 0; errors < MOST_ERRORS; errors++) {
      view.setUint32(MSGHDR.namelen, SOCKADDR_IN_LENGTH, true);
      view.setBigUint64(MSGHDR.controllen, BigInt(CONTROL_LENGTH), true);
      const length = libc().recvmsg(this.#fd, bytes, MSG_DONTWAIT | flags);
      if (length >= 0) return Math.min(length, DATA_LENGTH);
      // Any other number belongs to an earlier packet, whose details are in the error queue.
      if (errno() === Errno.EAGAIN) return undefined;
    }
    return undefined;
  }

  #readControl(): Control {
    const length = Number(this.#header.view.getBigUint64(MSGHDR.controllen, true));
    return readControl(this.#control.view, Math.min(length, CONTROL_LENGTH));
  }

  #milliseconds(seconds: number, nanoseconds: number): number {
    return (seconds - this.#epoch) * 1000 + nanoseconds / 1e6;
  }
}

function open(type: number, protocol: number, { netns, source }: ProbeSocketOptions): number {
  return inNetworkNamespace(netns, () => {
    const fd = unwrap("socket", libc().socket(AF_INET, type | SOCK_CLOEXEC, protocol));
    try {
      if (source !== undefined) {
        const subject = formatIPv4(source);
        const address = new Uint8Array(new ArrayBuffer(SOCKADDR_IN_LENGTH));
        const view = new DataView(address.buffer);
        view.setUint16(0, AF_INET, true);
        view.setUint32(4, source);
        unwrap("bind", libc().bind(fd, address, SOCKADDR_IN_LENGTH), subject);
      }
      return fd;
    } catch (error) {
      closeDescriptor(fd);
      throw error;
    }
  });
}

function setOption(fd: number, level: number, name: number, value: number): number {
  const bytes = new Uint8Array(new ArrayBuffer(4));
  new DataView(bytes.buffer).setInt32(0, value, true);
  return libc().setsockopt(fd, level, name, bytes, 4);
}
