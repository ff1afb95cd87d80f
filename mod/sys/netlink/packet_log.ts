/**
 * nfnetlink_log (linux/netfilter/nfnetlink_log.h): packets that netfilter logs, with the prefix of the rule.
 *
 * @module
 */
import { AttributeCursor, MessageCursor, NLM_F_ACK, NLM_F_REQUEST } from "./message.ts";
import { Sequence } from "./batch.ts";
import { Exchange } from "./exchange.ts";
import { MessageWriter } from "./message_writer.ts";
import { NETLINK_NETFILTER, NFPROTO } from "./nft_message.ts";
import { NetlinkSocket, type NetlinkSocketOptions } from "./socket.ts";

/** NFNL_SUBSYS_ULOG in the high byte, NFULNL_MSG_* in the low one. */
const MSG_PACKET = 4 << 8;
const MSG_CONFIG = 4 << 8 | 1;
/** NFULA_CFG_*. */
const CFG_COMMAND = 1;
const CFG_MODE = 2;
const CFG_THRESHOLD = 5;
/** NFULNL_CFG_CMD_BIND. */
const BIND = 1;
/** NFULNL_COPY_PACKET. */
const COPY_PACKET = 2;
/** Bytes of each packet that are wanted: the longest IPv4 header, and ports. */
const COPY_BYTES = 64;
/** NFULA_*. */
const PAYLOAD = 9;
const PREFIX = 10;
/** struct nfgenmsg. */
const NFGENMSG_LENGTH = 4;

/** A packet that was logged. */
export interface LoggedPacket {
  /** `TRACE: filter:FORWARD:rule:3 `, of the target TRACE. */
  readonly prefix: string;
  /** From the network header on, as much as was asked for. */
  readonly packet: Uint8Array;
}

/** Listens to group 0 of nfnetlink_log, where rules that name no group log to, and TRACE. */
export class PacketLogSocket implements Disposable {
  readonly #socket: NetlinkSocket;
  readonly #cursor = new MessageCursor();

  /** @throws {SysError} EBUSY when another program listens to the group; EPERM; EINVAL without nfnetlink_log */
  constructor({ netns }: NetlinkSocketOptions = {}) {
    this.#socket = NetlinkSocket.open({ netns }, NETLINK_NETFILTER);
    try {
      const exchange = new Exchange(this.#socket, new Sequence(), new MessageWriter());
      const configure = (write: (writer: MessageWriter) => void) =>
        exchange.request(
          { name: "NFULNL_MSG_CONFIG", subject: "group 0" },
          NLM_F_REQUEST | NLM_F_ACK,
          (writer, flags, sequence) => {
            writer.begin(MSG_CONFIG, flags, sequence);
            // struct nfgenmsg; the group, its last member, is 0.
            writer.u8(NFPROTO.ip);
            writer.zeros(3);
            write(writer);
            writer.end();
          },
        );
      configure((writer) => writer.attributeBytes(CFG_COMMAND, new Uint8Array([BIND])));
      configure((writer) => {
        // struct nfulnl_msg_config_mode: u32 in network order, u8 mode, u8 pad.
        const mode = new Uint8Array([0, 0, 0, COPY_BYTES, COPY_PACKET, 0]);
        writer.attributeBytes(CFG_MODE, mode);
        // Each packet by itself, at once.
        writer.attributeU32BE(CFG_THRESHOLD, 1);
      });
    } catch (error) {
      this.#socket[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Takes what is queued, without waiting.
   *
   * @throws {SysError} ENOBUFS when more was logged than the queue holds
   */
  receive(): LoggedPacket[] {
    const packets: LoggedPacket[] = [];
    const visit = (view: DataView, start: number, end: number) => {
      this.#cursor.enter(view, start, end);
      while (this.#cursor.next()) {
        const packet = readLoggedPacket(this.#cursor);
        if (packet !== undefined) packets.push(packet);
      }
    };
    while (this.#socket.receive("acknowledgements", visit) > 0);
    return packets;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/**
 * Reads a message of nfnetlink_log.
 *
 * @returns `undefined` for other messages
 * @throws {NetlinkFormatError} for a truncated message
 */
export function readLoggedPacket(message: MessageCursor): LoggedPacket | undefined {
  const { type, view, bodyStart, bodyEnd } = message;
  if (type !== MSG_PACKET) return undefined;
  const attributes = new AttributeCursor().enter(view, bodyStart + NFGENMSG_LENGTH, bodyEnd);
  let prefix = "";
  let packet: Uint8Array = new Uint8Array();
  while (attributes.next()) {
    if (attributes.type === PREFIX) prefix = attributes.string();
    else if (attributes.type === PAYLOAD) packet = attributes.bytes();
  }
  return { prefix, packet };
}
