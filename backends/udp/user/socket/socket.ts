import { formatIPv4, type IPv4 } from "../../../../mod/ip/mod.ts";
import { closeDescriptor, libc, unwrap } from "../../../../mod/sys/ffi/libc.ts";
import {
  AF_INET,
  IP_MTU_DISCOVER,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCKADDR_IN_LENGTH,
  SOL_IP,
  SOL_SOCKET,
} from "../../../../mod/sys/linux_constants.ts";

/** `asm-generic/socket.h`, `linux/in.h`, `linux/udp.h`. */
const SO_REUSEPORT = 15;
const IP_MTU = 14;
const IP_PMTUDISC_WANT = 1;
const IP_PMTUDISC_DO = 2;
export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;
/** A burst that arrives while the worker's processor is taken: 8 MB is 3 ms at 20 Gbit/s. */
const RECEIVE_BUFFER = 8 << 20;
/** What waits in front of a slow link: 2 MB is 16 ms at 1 Gbit/s; more would be delay, not speed. */
const SEND_BUFFER = 2 << 20;

/** Options of {@linkcode openSocket}. */
export interface SocketOptions {
  /** Address of the external interface, not the public IP. */
  readonly address: IPv4;
  /** Also the port that peers are sent to. */
  readonly port: number;
  /** Send trains with UDP_SEGMENT (Linux 4.18). @default true */
  readonly segmentation?: boolean;
  /** Receive trains with UDP_GRO (Linux 5.0). @default true */
  readonly coalescing?: boolean;
  /** Several sockets on one port, each fed by its share of the peers. @default false */
  readonly shared?: boolean;
}

/** A bound UDP socket and what the kernel does for it. */
export interface Socket {
  readonly fd: number;
  readonly segmentation: boolean;
  readonly coalescing: boolean;
}

/**
 * Binds the socket of the tunnel. Outer packets carry DF and are never cut behind our back
 * (IP_PMTUDISC_DO): a packet that does not fit the path comes back as EMSGSIZE, and the sender of the
 * inner packet can be told.
 *
 * @throws {SysError} EADDRINUSE when the port is taken, EADDRNOTAVAIL when the address is not ours
 */
export function openSocket(options: SocketOptions): Socket {
  const subject = `${formatIPv4(options.address)}:${options.port}/udp`;
  const fd = unwrap("socket", libc().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  try {
    if (options.shared) {
      unwrap("SO_REUSEPORT", setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1), subject);
    }
    // The forced forms go beyond net.core.[rw]mem_max and need CAP_NET_ADMIN.
    if (setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER) < 0) {
      setOption(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
    }
    if (setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER) < 0) {
      setOption(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
    }
    unwrap("IP_MTU_DISCOVER", setOption(fd, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO), subject);
    unwrap(
      "bind",
      libc().bind(fd, socketAddress(options.address, options.port), SOCKADDR_IN_LENGTH),
      subject,
    );
    return {
      fd,
      // Zero sets no size of its own; an old kernel answers ENOPROTOOPT.
      segmentation: options.segmentation !== false && setOption(fd, SOL_UDP, UDP_SEGMENT, 0) === 0,
      coalescing: options.coalescing !== false && setOption(fd, SOL_UDP, UDP_GRO, 1) === 0,
    };
  } catch (error) {
    closeDescriptor(fd);
    throw error;
  }
}

/** Stops UDP_GRO; a kernel that has none does not mind. */
export function disableCoalescing(fd: number): void {
  setOption(fd, SOL_UDP, UDP_GRO, 0);
}

/** Lets the kernel cut the next datagrams into IP fragments, or stops it. */
export function allowFragments(fd: number, allowed: boolean): void {
  setOption(fd, SOL_IP, IP_MTU_DISCOVER, allowed ? IP_PMTUDISC_WANT : IP_PMTUDISC_DO);
}

/**
 * The MTU of the path to an address as the kernel knows it (ip(7), IP_MTU: connected sockets only).
 *
 * @returns bytes; 0 when there is no route
 */
export function pathMtu(address: IPv4): number {
  const fd = libc().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  try {
    if (libc().connect(fd, socketAddress(address, 9), SOCKADDR_IN_LENGTH) < 0) return 0;
    const value = new Uint8Array(new ArrayBuffer(4));
    const length = new Uint8Array(new ArrayBuffer(4));
    length[0] = 4;
    if (libc().getsockopt(fd, SOL_IP, IP_MTU, value, length) < 0) return 0;
    return new DataView(value.buffer).getUint32(0, true);
  } finally {
    closeDescriptor(fd);
  }
}

/** A `struct sockaddr_in`. */
function socketAddress(address: IPv4, port: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(SOCKADDR_IN_LENGTH));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  view.setUint32(4, address);
  return bytes;
}

function setOption(fd: number, level: number, name: number, value: number): number {
  const bytes = new Uint8Array(new ArrayBuffer(4));
  new DataView(bytes.buffer).setInt32(0, value, true);
  return libc().setsockopt(fd, level, name, bytes, 4);
}
