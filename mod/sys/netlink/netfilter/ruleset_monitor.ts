import { Broadcasts } from "../broadcast.ts";
import type { MessageCursor } from "../wire/message.ts";
import type { MonitorOptions } from "../monitor.ts";
import { NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES } from "./netfilter.ts";
import { openSocket } from "../wire/socket.ts";
import { Subscription } from "../subscription.ts";

/** NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h, 7, as a bit. */
const GROUP = 1 << (7 - 1);

/**
 * NFNL_SUBSYS_NFTABLES in the high byte, NFT_MSG_NEWGEN in the low one (linux/netfilter/nfnetlink.h,
 * nf_tables.h): ends the messages of each transaction.
 */
const NEW_GENERATION = NFNL_SUBSYS_NFTABLES << 8 | 15;

/** One message of a few hundred bytes a transaction is read; the rules between are passed over. */
const RECEIVE_BUFFER = 1024 * 1024;

/**
 * Yields an event for each change of nf_tables' rules by any program: `nft` and iptables-nft. The kernel has no
 * events for iptables-legacy.
 *
 * It listens from the call on, as {@linkcode monitor} does.
 *
 * @returns one `changed` a transaction, in groups of what was queued
 * @throws {SysError} EPROTONOSUPPORT when the kernel has no netfilter; EPERM without CAP_NET_ADMIN
 */
export function monitorRuleset(
  options: MonitorOptions,
): AsyncIterable<readonly "changed"[]> {
  const { netns, receiveBuffer, signal } = options;
  return netns === undefined && receiveBuffer === undefined
    ? shared.listen(GROUP, signal)
    : subscribe(options);
}

/** Each network of an agent asks for it. */
const shared = new Broadcasts<"changed">((_group, signal) => subscribe({ signal }), "changed");

function subscribe(
  { netns, signal, receiveBuffer = RECEIVE_BUFFER }: MonitorOptions,
): AsyncIterable<"changed"[]> {
  const subscription = new Subscription<"changed">({
    socket: openSocket(netns, GROUP, NETLINK_NETFILTER),
    signal,
    receiveBuffer,
    read: ({ type }: MessageCursor) => type === NEW_GENERATION ? "changed" : undefined,
    lost: "changed",
  });
  return { [Symbol.asyncIterator]: () => subscription.events() };
}
