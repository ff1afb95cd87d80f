/**
 * IFLA_STATS64: what went through a link (linux/if_link.h, struct rtnl_link_stats64).
 *
 * @module
 */
import { IFINFOMSG_LENGTH, RTM_GETLINK, writeLinkHeader } from "./link.ts";
import { AttributeCursor, type MessageCursor, NetlinkFormatError } from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";
import type { LinkStatistics } from "../wire/types.ts";

const IFLA_STATS64 = 23;

/** Offsets of the members, u64 each. */
const Member = {
  rx_packets: 0,
  tx_packets: 8,
  rx_bytes: 16,
  tx_bytes: 24,
  rx_errors: 32,
  tx_errors: 40,
  rx_dropped: 48,
  tx_dropped: 56,
} as const;

/** Asks for one link with its statistics, by index. */
export function writeStatisticsQuery(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  index: number,
): void {
  writer.begin(RTM_GETLINK, flags, sequence);
  writeLinkHeader(writer, index, 0, 0);
  writer.end();
}

/** Reads the statistics of an RTM_NEWLINK. */
export function readStatistics(message: MessageCursor): LinkStatistics {
  const { view, bodyStart, bodyEnd } = message;
  const attributes = new AttributeCursor().enter(view, bodyStart + IFINFOMSG_LENGTH, bodyEnd);
  while (attributes.next()) {
    if (attributes.type !== IFLA_STATS64) continue;
    const { offset, length } = attributes;
    if (length < Member.tx_dropped + 8) {
      throw new NetlinkFormatError(`statistics of ${length} bytes`);
    }
    const read = (member: keyof typeof Member) =>
      Number(view.getBigUint64(offset + Member[member], true));
    return {
      receivedPackets: read("rx_packets"),
      sentPackets: read("tx_packets"),
      receivedBytes: read("rx_bytes"),
      sentBytes: read("tx_bytes"),
      receiveErrors: read("rx_errors"),
      sendErrors: read("tx_errors"),
      receiveDrops: read("rx_dropped"),
      sendDrops: read("tx_dropped"),
    };
  }
  throw new NetlinkFormatError("a link without statistics");
}
