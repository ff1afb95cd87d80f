import { Errno, SysError } from "../../ffi/errno.ts";
import { acknowledgedErrno, acknowledgedReason } from "./acknowledgement.ts";
import type { Sequence } from "../batch.ts";
import {
  MessageCursor,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "./message.ts";
import type { MessageWriter } from "./message_writer.ts";
import type { Transport } from "./transport.ts";

/** How often a dump starts again when its table changed meanwhile. */
const DUMP_ATTEMPTS = 10;

/** Writes a request with the given flags and number. */
export type Write = (writer: MessageWriter, flags: number, sequence: number) => void;

/** Name of a request in errors. */
export interface RequestName {
  /** RTM_* */
  readonly name: string;
  /** The object it is about. */
  readonly subject?: string | undefined;
}

/** One request at a time and its answers: an acknowledgement, an object, or a dump. */
export class Exchange {
  readonly #transport: Transport;
  readonly #sequence: Sequence;
  readonly #writer: MessageWriter;
  readonly #cursor = new MessageCursor();

  /** @param writer is reset for each request */
  constructor(transport: Transport, sequence: Sequence, writer: MessageWriter) {
    this.#transport = transport;
    this.#sequence = sequence;
    this.#writer = writer;
  }

  /**
   * Asks for one object.
   *
   * @param type of the message that carries it
   * @throws {SysError} what the kernel answered
   */
  get<T>(
    request: RequestName,
    write: Write,
    type: number,
    read: (message: MessageCursor) => T,
  ): T {
    let answer: { value: T } | undefined;
    this.request(request, 0, write, (message) => {
      if (message.type === type) answer = { value: read(message) };
    });
    if (answer === undefined) {
      throw refusal(request, Errno.ENOENT, "answered without an object");
    }
    return answer.value;
  }

  /**
   * Sends one message and reads up to its acknowledgement.
   *
   * @param flags beyond NLM_F_REQUEST and NLM_F_ACK
   * @throws {SysError} what the kernel answered
   */
  request(
    request: RequestName,
    flags: number,
    write: Write,
    visit: (message: MessageCursor) => void = () => {},
  ): void {
    const sequence = this.#send(NLM_F_REQUEST | NLM_F_ACK | flags, write);
    this.#receiveUntilDone(sequence, request, visit);
  }

  /**
   * Asks for a table. A filter that names an interface or a table that is not there finds nothing.
   *
   * @param type of the messages that carry its objects
   * @param read leaves out what it returns `undefined` for
   * @throws {SysError} what the kernel answered; EINTR when the table never held still
   */
  dump<T>(
    request: RequestName,
    write: Write,
    type: number,
    read: (message: MessageCursor) => T | undefined,
  ): T[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const objects: T[] = [];
      let interrupted = false;
      const sequence = this.#send(NLM_F_REQUEST | NLM_F_DUMP, write);
      try {
        this.#receiveUntilDone(sequence, request, (message) => {
          if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
          if (message.type !== type) return;
          const object = read(message);
          if (object !== undefined) objects.push(object);
        });
      } catch (error) {
        const absent: number[] = [Errno.ENODEV, Errno.ENOENT];
        if (error instanceof SysError && absent.includes(error.errno)) return [];
        throw error;
      }
      if (!interrupted) return objects;
    }
    throw refusal(request, Errno.EINTR, `the table changed during each of ${DUMP_ATTEMPTS} dumps`);
  }

  #send(flags: number, write: Write): number {
    const sequence = this.#sequence.take();
    this.#writer.reset();
    write(this.#writer, flags, sequence);
    this.#transport.send(this.#writer.bytes);
    return sequence;
  }

  /** Reads the answers to a request up to its acknowledgement or the end of its dump. */
  #receiveUntilDone(
    sequence: number,
    request: RequestName,
    visit: (message: MessageCursor) => void,
  ): void {
    const cursor = this.#cursor;
    let finished = false;
    let failure: SysError | undefined;
    const visitDatagram = (view: DataView, start: number, end: number) => {
      cursor.enter(view, start, end);
      while (cursor.next()) {
        if (cursor.sequence !== sequence) continue;
        if (cursor.type === NLMSG_ERROR || cursor.type === NLMSG_DONE) {
          finished = true;
          const number = acknowledgedErrno(cursor);
          if (number !== 0) failure = refusal(request, number, acknowledgedReason(cursor));
        }
        visit(cursor);
      }
    };
    try {
      for (let waited = false; !finished;) {
        if (this.#transport.receive("dump", visitDatagram) > 0) continue;
        if (waited) throw refusal(request, Errno.ETIMEDOUT, "netlink did not answer");
        this.#transport.wait();
        waited = true;
      }
    } catch (error) {
      // An unread dump would make the socket refuse the next one (EBUSY).
      while (this.#transport.receive("dump", () => {}) > 0);
      throw error;
    }
    if (failure !== undefined) throw failure;
  }
}

function refusal(request: RequestName, errno: number, detail: string | undefined): SysError {
  return new SysError(request.name, errno, { subject: request.subject, detail });
}
