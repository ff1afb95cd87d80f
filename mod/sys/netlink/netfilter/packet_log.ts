/**
 * nfnetlink_log (linux/netfilter/nfnetlink_log.h): packets that netfilter logs, with the prefix of the rule.
 *
 * @module
 */
import { AttributeCursor, type MessageCursor } from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";
import { beginNetfilter, NetfilterSocket, NFGENMSG_LENGTH, NFNL_SUBSYS_ULOG } from "./netfilter.ts";
import type { NetlinkSocketOptions } from "../wire/socket.ts";

/** NFULNL_MSG_*. */
const MSG_PACKET = 0;
const MSG_CONFIG = 1;
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

/** A packet that was logged. */
export interface LoggedPacket {
  /** `TRACE: filter:FORWARD:rule:3 `, of the target TRACE. */
  readonly prefix: string;
  /** From the network header on, as much as was asked for. */
  readonly packet: Uint8Array;
}

/** Listens to group 0 of nfnetlink_log, where rules that name no group log to, and TRACE. */
export class PacketLogSocket implements Disposable {
  readonly #socket: NetfilterSocket;

  /** @throws {SysError} EBUSY when another program listens to the group; EPERM; EINVAL without nfnetlink_log */
  constructor(options: NetlinkSocketOptions = {}) {
    this.#socket = new NetfilterSocket(options);
    try {
      this.#configure((writer) => writer.attributeBytes(CFG_COMMAND, new Uint8Array([BIND])));
      this.#configure((writer) => {
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

  /** Returns the queued packets without waiting; packets that found no room are lost. */
  receive(): LoggedPacket[] {
    return this.#socket.receive(readLoggedPacket);
  }

  /** The group, last member of the message's header, is 0. */
  #configure(write: (writer: MessageWriter) => void): void {
    const request = { name: "NFULNL_MSG_CONFIG", subject: "group 0" };
    this.#socket.exchange.request(request, 0, (writer, flags, sequence) => {
      beginNetfilter(writer, NFNL_SUBSYS_ULOG, MSG_CONFIG, { flags, sequence });
      write(writer);
      writer.end();
    });
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
  if (type !== (NFNL_SUBSYS_ULOG << 8 | MSG_PACKET)) return undefined;
  const attributes = new AttributeCursor().enter(view, bodyStart + NFGENMSG_LENGTH, bodyEnd);
  let prefix = "";
  let packet: Uint8Array = new Uint8Array();
  while (attributes.next()) {
    if (attributes.type === PREFIX) prefix = attributes.string();
    else if (attributes.type === PAYLOAD) packet = attributes.bytes();
  }
  return { prefix, packet };
}
