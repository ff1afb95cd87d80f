/**
 * Control messages of recvmsg(2) that probes request: entries of the error queue (ip(7), IP_RECVERR), receive
 * timestamps (socket(7), SO_TIMESTAMPNS) and the receiving interface (ip(7), IP_PKTINFO).
 *
 * @module
 */
import type { IPv4 } from "../ip/mod.ts";
import { AF_INET, SOCKADDR_IN_LENGTH, SOL_IP, SOL_SOCKET } from "../sys/linux_constants.ts";

/** struct cmsghdr: size_t cmsg_len, int cmsg_level, int cmsg_type; data is aligned to 8 bytes. */
const CMSG_HEADER = 16;
/** asm-generic/socket.h; the message has the option's number and holds a struct timespec. */
export const SO_TIMESTAMPNS = 35;
/** linux/in.h; the message has the option's number. */
export const IP_RECVERR = 11;

/** linux/in.h; the message has the option's number and holds a struct in_pktinfo, ifindex first. */
export const IP_PKTINFO = 8;
const IN_PKTINFO = 12;

/** linux/errqueue.h: struct sock_extended_err, followed by the offender's sockaddr_in. */
const EXTENDED_ERROR = 16;

/** SO_EE_ORIGIN_*: the source of an error. */
export const Origin = { LOCAL: 1, ICMP: 2 } as const;

/** An entry of a socket's error queue. */
export interface ExtendedError {
  readonly errno: number;
  /** {@linkcode Origin} */
  readonly origin: number;
  /** ICMP type and code, where the origin is ICMP. */
  readonly type: number;
  readonly code: number;
  /** With EMSGSIZE the MTU of the path, in bytes. */
  readonly info: number;
  /** The node that sent the ICMP error. */
  readonly offender: IPv4 | undefined;
}

/** A time of CLOCK_REALTIME. */
export interface Timestamp {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** Decoded control messages. */
export interface Control {
  readonly error?: ExtendedError;
  readonly received?: Timestamp;
  /** Index of the interface that received the packet. */
  readonly interface?: number;
}

/**
 * Reads control messages.
 *
 * @param length bytes that the kernel wrote, msg_controllen
 */
export function readControl(view: DataView, length: number): Control {
  let error: ExtendedError | undefined;
  let received: Timestamp | undefined;
  let index: number | undefined;
  for (let at = 0; at + CMSG_HEADER <= length;) {
    const size = Number(view.getBigUint64(at, true));
    if (size < CMSG_HEADER || at + size > length) break;
    const level = view.getInt32(at + 8, true);
    const type = view.getInt32(at + 12, true);
    const data = at + CMSG_HEADER;
    const end = at + size;
    if (level === SOL_IP && type === IP_RECVERR && data + EXTENDED_ERROR <= end) {
      error = readExtendedError(view, data, end);
    } else if (level === SOL_IP && type === IP_PKTINFO && data + IN_PKTINFO <= end) {
      index = view.getInt32(data, true);
    } else if (level === SOL_SOCKET && type === SO_TIMESTAMPNS && data + 16 <= end) {
      received = {
        seconds: Number(view.getBigInt64(data, true)),
        nanoseconds: Number(view.getBigInt64(data + 8, true)),
      };
    }
    at += (size + 7) & ~7; // CMSG_ALIGN
  }
  return {
    ...(error === undefined ? {} : { error }),
    ...(received === undefined ? {} : { received }),
    ...(index === undefined ? {} : { interface: index }),
  };
}

function readExtendedError(view: DataView, at: number, end: number): ExtendedError {
  const offender = at + EXTENDED_ERROR;
  const isNamed = offender + SOCKADDR_IN_LENGTH <= end &&
    view.getUint16(offender, true) === AF_INET;
  return {
    errno: view.getUint32(at, true),
    origin: view.getUint8(at + 4),
    type: view.getUint8(at + 5),
    code: view.getUint8(at + 6),
    info: view.getUint32(at + 8, true),
    offender: isNamed ? view.getUint32(offender + 4) : undefined,
  };
}
