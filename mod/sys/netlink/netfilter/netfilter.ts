import type { IPv4 } from "../../../ip/mod.ts";
import { Errno, SysError } from "../../ffi/errno.ts";
import { Sequence } from "../batch.ts";
import { Exchange } from "../wire/exchange.ts";
import { MessageCursor } from "../wire/message.ts";
import { MessageWriter } from "../wire/message_writer.ts";
import { NetlinkSocket, type NetlinkSocketOptions } from "../wire/socket.ts";

/** NETLINK_NETFILTER of linux/netlink.h. */
export const NETLINK_NETFILTER = 12;

/** NFNL_SUBSYS_* of linux/netfilter/nfnetlink.h. */
export const NFNL_SUBSYS_ULOG = 4;
export const NFNL_SUBSYS_IPSET = 6;
export const NFNL_SUBSYS_NFTABLES = 10;

/** NFPROTO_IPV4 of linux/netfilter.h. */
export const NFPROTO_IPV4 = 2;

/** NLA_F_NESTED and NLA_F_NET_BYTEORDER of linux/netlink.h, which ip sets insist on. */
export const NLA_F_NESTED = 0x8000;
const NLA_F_NET_BYTEORDER = 0x4000;

/** A socket to one of netfilter's subsystems. */
export class NetfilterSocket implements Disposable {
  readonly exchange: Exchange;
  readonly transport: NetlinkSocket;
  readonly #cursor = new MessageCursor();

  /**
   * @param groups multicast groups: bit `n - 1` joins group `n` (NFNLGRP_*)
   * @throws {SysError} EPROTONOSUPPORT when the kernel has no netfilter
   */
  constructor(options: NetlinkSocketOptions, groups = 0) {
    this.transport = NetlinkSocket.open(options, NETLINK_NETFILTER, groups);
    this.exchange = new Exchange(this.transport, new Sequence(), new MessageWriter(32 * 1024));
  }

  /** Reads the messages that are queued, without waiting; those that found no room are left out. */
  receive<T>(read: (message: MessageCursor) => T | undefined): T[] {
    const found: T[] = [];
    const visit = (view: DataView, start: number, end: number) => {
      this.#cursor.enter(view, start, end);
      while (this.#cursor.next()) {
        const value = read(this.#cursor);
        if (value !== undefined) found.push(value);
      }
    };
    try {
      while (this.transport.receive("acknowledgements", visit) > 0);
    } catch (error) {
      if (!(error instanceof SysError) || error.errno !== Errno.ENOBUFS) throw error;
    }
    return found;
  }

  [Symbol.dispose](): void {
    this.transport[Symbol.dispose]();
  }
}

/**
 * Starts a message with its header struct nfgenmsg: u8 family, u8 version, u16 resource in network order.
 *
 * @param command of the subsystem
 * @param family NFPROTO_*
 */
export function beginNetfilter(
  writer: MessageWriter,
  subsystem: number,
  command: number,
  { flags, sequence }: { readonly flags: number; readonly sequence: number },
  family = NFPROTO_IPV4,
): void {
  writer.begin(subsystem << 8 | command, flags, sequence);
  writer.u8(family);
  writer.zeros(3);
}

/** Bytes of struct nfgenmsg, before the attributes. */
export const NFGENMSG_LENGTH = 4;

/** A four-byte attribute in network order, with the flag NLA_F_NET_BYTEORDER. */
export function attributeNetworkU32(writer: MessageWriter, type: number, value: number): void {
  writer.attributeIPv4(type | NLA_F_NET_BYTEORDER, value as IPv4);
}
