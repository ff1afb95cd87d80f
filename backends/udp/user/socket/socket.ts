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
/** Bytes for a burst that arrives while another thread has the worker's processor: 3 ms at 20 Gbit/s. */
const RECEIVE_BUFFER = 8 << 20;
/** Bytes that wait for a slow link: 16 ms at 1 Gbit/s; a larger buffer adds delay and no throughput. */
const SEND_BUFFER = 2 << 20;

/** Options of {@linkcode openSocket}. */
export interface SocketOptions {
  /** Address of the external interface, not the public IP. */
  readonly address: IPv4;
  /** Local port, and destination port of peers. */
  readonly port: number;
  /** Send segment batches with UDP_SEGMENT (Linux 4.18). @default true */
  readonly gso?: boolean;
  /** Receive segment batches with UDP_GRO (Linux 5.0). @default true */
  readonly gro?: boolean;
  /** Let several sockets share the port; the kernel distributes peers among them. @default false */
  readonly shared?: boolean;
}

/** A bound UDP socket and its offloads. */
export interface Socket {
  readonly fd: number;
  readonly gso: boolean;
  readonly gro: boolean;
}

/**
 * Binds the tunnel's socket. Outer packets carry DF (IP_PMTUDISC_DO): a packet that exceeds the path MTU fails with
 * EMSGSIZE, and the router sends an ICMP error to the inner packet's sender.
 *
 * @throws {SysError} EADDRINUSE when another socket has the port, EADDRNOTAVAIL when the address is not this host's
 */
export function openSocket(options: SocketOptions): Socket {
  const subject = `${formatIPv4(options.address)}:${options.port}/udp`;
  const fd = unwrap("socket", libc().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  try {
    if (options.shared) {
      unwrap("SO_REUSEPORT", setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1), subject);
    }
    // The FORCE options exceed net.core.[rw]mem_max and need CAP_NET_ADMIN.
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
      // Zero changes nothing; a kernel without UDP_SEGMENT returns ENOPROTOOPT.
      gso: options.gso !== false && setOption(fd, SOL_UDP, UDP_SEGMENT, 0) === 0,
      gro: options.gro !== false && setOption(fd, SOL_UDP, UDP_GRO, 1) === 0,
    };
  } catch (error) {
    closeDescriptor(fd);
    throw error;
  }
}

/** Turns UDP_GRO off; ignored by a kernel without it. */
export function disableGro(fd: number): void {
  setOption(fd, SOL_UDP, UDP_GRO, 0);
}

/** Lets the kernel fragment the datagrams that follow, or forbids it. */
export function allowFragments(fd: number, allowed: boolean): void {
  setOption(fd, SOL_IP, IP_MTU_DISCOVER, allowed ? IP_PMTUDISC_WANT : IP_PMTUDISC_DO);
}

/**
 * Reads the kernel's path MTU to an address from a connected socket (ip(7), IP_MTU).
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
