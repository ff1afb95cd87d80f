import { Errno, SysError } from "../../ffi/errno.ts";
import {
  HEADER_LENGTH,
  MessageCursor,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "../wire/message.ts";
import { MessageWriter } from "../wire/message_writer.ts";
import type { Visit } from "../wire/receive_vector.ts";
import type { Expected, Transport } from "../wire/transport.ts";

/** A message that was to be sent. */
export interface RecordedMessage {
  /** RTM_* */
  readonly type: number;
  /** NLM_F_* */
  readonly flags: number;
  readonly sequence: number;
  /** All of it, header included; a copy. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** How a {@linkcode Recorder} behaves. */
export interface RecorderOptions {
  /**
   * Errno to answer a message with; 0 is success.
   *
   * @default always 0
   */
  readonly refuse?: (message: RecordedMessage) => number;
  /**
   * Datagrams that answer a message before its acknowledgement, or before the end of its dump. Their
   * sequence numbers are set by the recorder.
   *
   * @default none
   */
  readonly reply?: (message: RecordedMessage) => Uint8Array<ArrayBuffer>[];
  /**
   * How many answers the queue holds; further ones are lost, and reads fail with ENOBUFS, until the queue is
   * empty (netlink(7)).
   *
   * @default no limit
   */
  readonly queue?: number;
  /** @default 32 KiB */
  readonly sendLimit?: number;
  /** @default no limit */
  readonly messageLimit?: number;
}

/**
 * Keeps messages instead of sending them, for tests that must not touch a kernel. It acknowledges as
 * the kernel does: errors always, success where asked, dumps by their end. It knows nothing of
 * routes: every change succeeds and every dump is empty unless the options change that.
 *
 * @example
 * ```ts
 * import { Netlink } from "../connection.ts";
 * import { Recorder } from "./recorder.ts";
 * const recorder = new Recorder();
 * using netlink = new Netlink(recorder);
 * netlink.setLink(7, { up: true });
 * console.assert(recorder.messages[0]!.type === 16); // RTM_NEWLINK
 * ```
 */
export class Recorder implements Transport {
  readonly port = 0;
  /** Every message, in order. */
  readonly messages: RecordedMessage[] = [];
  /** How many messages each send held. */
  readonly sends: number[] = [];
  /** True once the owner let go of it. */
  disposed = false;
  readonly sendLimit: number;
  readonly messageLimit: number;
  readonly #options: RecorderOptions;
  #answers: Uint8Array<ArrayBuffer>[] = [];
  #congested = false;
  #overrun = false;
  #systemCalls = 0;

  constructor(options: RecorderOptions = {}) {
    this.#options = options;
    this.sendLimit = options.sendLimit ?? 32 * 1024;
    this.messageLimit = options.messageLimit ?? Number.MAX_SAFE_INTEGER;
  }

  get systemCalls(): number {
    return this.#systemCalls;
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.#systemCalls++;
    const cursor = new MessageCursor();
    cursor.enter(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
    let count = 0;
    while (cursor.next()) {
      count++;
      const message: RecordedMessage = {
        type: cursor.type,
        flags: cursor.flags,
        sequence: cursor.sequence,
        bytes: bytes.slice(cursor.bodyStart - HEADER_LENGTH, cursor.bodyEnd),
      };
      this.messages.push(message);
      this.#answer(message);
    }
    this.sends.push(count);
  }

  #answer(message: RecordedMessage): void {
    const errno = this.#options.refuse?.(message) ?? 0;
    if (errno === 0) {
      for (const datagram of this.#options.reply?.(message) ?? []) {
        this.#enqueue(withSequence(datagram, message.sequence));
      }
    }
    if (errno !== 0 || (message.flags & NLM_F_ACK) !== 0) {
      this.#enqueue(acknowledgement(NLMSG_ERROR, message, errno));
    } else if ((message.flags & NLM_F_DUMP) === NLM_F_DUMP && isQuery(message.type)) {
      this.#enqueue(acknowledgement(NLMSG_DONE, message, 0));
    }
  }

  #enqueue(answer: Uint8Array<ArrayBuffer>): void {
    if (this.#answers.length >= (this.#options.queue ?? Infinity)) this.#congested = true;
    if (this.#congested) this.#overrun = true;
    else this.#answers.push(answer);
  }

  receive(_expected: Expected, visit: Visit): number {
    this.#systemCalls++;
    if (this.#overrun) {
      this.#overrun = false;
      throw new SysError("recvmmsg", Errno.ENOBUFS);
    }
    const answers = this.#answers;
    this.#answers = [];
    this.#congested = false;
    for (const answer of answers) {
      visit(new DataView(answer.buffer, answer.byteOffset, answer.length), 0, answer.length);
    }
    return answers.length;
  }

  wait(): void {
    this.#systemCalls++;
    throw new SysError("poll", Errno.ETIMEDOUT);
  }

  [Symbol.dispose](): void {
    this.disposed = true;
  }
}

/** linux/rtnetlink.h: message types come in fours, NEW, DEL, GET, SET. */
function isQuery(type: number): boolean {
  return (type & 3) === 2;
}

function acknowledgement(
  type: number,
  request: RecordedMessage,
  errno: number,
): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter();
  writer.begin(type, 0, request.sequence);
  writer.u32(-errno >>> 0);
  if (type === NLMSG_ERROR) {
    for (const byte of request.bytes.subarray(0, HEADER_LENGTH)) writer.u8(byte);
  }
  writer.end();
  return writer.bytes.slice();
}

function withSequence(datagram: Uint8Array<ArrayBuffer>, sequence: number) {
  const copy = datagram.slice();
  const view = new DataView(copy.buffer);
  for (let at = 0; at + HEADER_LENGTH <= copy.length;) {
    view.setUint32(at + 8, sequence, true);
    at += Math.max(HEADER_LENGTH, (view.getUint32(at, true) + 3) & ~3);
  }
  return copy;
}
