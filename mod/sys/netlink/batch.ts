import { Errno, SysError } from "../ffi/errno.ts";
import { acknowledgedErrno, acknowledgedReason } from "./wire/acknowledgement.ts";
import { MessageCursor, NLM_F_ACK, NLMSG_ERROR } from "./wire/message.ts";
import type { MessageWriter } from "./wire/message_writer.ts";
import { describeObject, requestName, writeOperation } from "./operation.ts";
import type { Transport } from "./wire/transport.ts";
import type { Operation } from "./wire/types.ts";

/** An operation that the kernel refused. */
export interface BatchFailure {
  readonly operation: Operation;
  readonly error: SysError;
}

/** Result of a batch. */
export interface BatchResult {
  /** Operations whose object now is as they ask. */
  readonly applied: number;
  /** The others, in order. */
  readonly failures: readonly BatchFailure[];
  readonly systemCalls: number;
}

/** No request of an {@linkcode Operation} is longer: a route with every attribute has 76 bytes. */
export const MAX_REQUEST_BYTES = 80;

/** Deleting what is not there has these answers: the object, or the interface it was on, is gone. */
const ABSENT = new Set<number>([
  Errno.ENOENT, // FDB entry, neighbour
  Errno.ESRCH, // route
  Errno.EADDRNOTAVAIL, // address
  Errno.ENODEV, // interface
]);

/** Numbers the requests of a socket, modulo 2^32. */
export class Sequence {
  #next: number;

  /** @param first number to be given */
  constructor(first = 1) {
    this.#next = first;
  }

  /** Reserves `count` consecutive numbers. @returns the first */
  take(count = 1): number {
    const first = this.#next;
    this.#next = (this.#next + count) >>> 0;
    return first;
  }
}

/**
 * Carries operations out, in order, many to a send.
 *
 * Only the last message of a send asks for an acknowledgement; the kernel always reports errors. It processes
 * a send from front to back and answers in that order, so once the last answer has arrived, every operation
 * without an error has succeeded.
 *
 * If the answers overrun the receive buffer all the same (a send holds no more messages than that buffer has
 * room for errors), the operations before the last answer that arrived are still certain. The others are sent
 * again in halves: a repeated `replace` or `delete` ends in the same state.
 */
export class Batch {
  readonly #transport: Transport;
  readonly #sequence: Sequence;
  readonly #writer: MessageWriter;
  readonly #cursor = new MessageCursor();
  readonly #failures: BatchFailure[] = [];

  /** @param writer is reset for each send */
  constructor(transport: Transport, sequence: Sequence, writer: MessageWriter) {
    this.#transport = transport;
    this.#sequence = sequence;
    this.#writer = writer;
  }

  /** @throws {SysError} when the socket itself fails */
  execute(operations: Iterable<Operation>): BatchResult {
    const before = this.#transport.systemCalls;
    const limit = Math.min(
      this.#transport.messageLimit,
      Math.floor(this.#transport.sendLimit / MAX_REQUEST_BYTES),
    );
    let count = 0;
    let pending: Operation[] = [];
    for (const operation of operations) {
      pending.push(operation);
      count++;
      if (pending.length === limit) {
        this.#send(pending, false);
        pending = [];
      }
    }
    if (pending.length > 0) this.#send(pending, false);
    return {
      applied: count - this.#failures.length,
      failures: this.#failures,
      systemCalls: this.#transport.systemCalls - before,
    };
  }

  /** @param again true when these were sent before and their answers lost */
  #send(operations: readonly Operation[], again: boolean): void {
    const errors = new Map<number, SysError>();
    const first = this.#sequence.take(operations.length);
    const last = this.#write(operations, first, errors);
    let certain = operations.length;
    if (last >= 0) {
      this.#transport.send(this.#writer.bytes);
      certain = this.#collect(operations, first, last, errors);
    }
    for (let index = 0; index < certain; index++) {
      const error = errors.get(index);
      if (error !== undefined) this.#judge(operations[index]!, error, again);
    }
    if (certain < operations.length) this.#sendAgain(operations, certain);
  }

  #sendAgain(operations: readonly Operation[], certain: number): void {
    const lost = operations.slice(certain);
    if (operations.length === 1) {
      this.#fail(lost[0]!, Errno.ENOBUFS, "its acknowledgement was lost");
      return;
    }
    const half = Math.ceil(lost.length / 2);
    this.#send(lost.slice(0, half), true);
    if (half < lost.length) this.#send(lost.slice(half), true);
  }

  /** @returns index of the last operation that could be written, -1 when none could */
  #write(operations: readonly Operation[], first: number, errors: Map<number, SysError>): number {
    let last = -1;
    this.#writer.reset();
    operations.forEach((operation, index) => {
      try {
        writeOperation(this.#writer, (first + index) >>> 0, operation);
        last = index;
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        // One peer's malformed MAC must not hold up the others.
        this.#writer.abandon();
        errors.set(index, refusal(operation, Errno.EINVAL, error.message));
      }
    });
    if (last >= 0) this.#writer.addFlags(NLM_F_ACK);
    return last;
  }

  /** Takes the answers. @returns how many operations, from the first on, are certain now */
  #collect(
    operations: readonly Operation[],
    first: number,
    last: number,
    errors: Map<number, SysError>,
  ): number {
    let finished = false;
    let lost = false;
    let answered = -1;
    const visit = (view: DataView, start: number, end: number) => {
      this.#cursor.enter(view, start, end);
      while (this.#cursor.next()) {
        const index = (this.#cursor.sequence - first) >>> 0;
        if (this.#cursor.type !== NLMSG_ERROR || index > last) continue;
        if (index === last) finished = true;
        answered = index;
        const operation = operations[index]!;
        const number = acknowledgedErrno(this.#cursor);
        if (number === 0 || (operation.op === "delete" && ABSENT.has(number))) continue;
        errors.set(index, refusal(operation, number, acknowledgedReason(this.#cursor)));
      }
    };
    for (let waited = false; !finished;) {
      let count = 0;
      try {
        count = this.#transport.receive("acknowledgements", visit);
      } catch (error) {
        if (!(error instanceof SysError) || error.errno !== Errno.ENOBUFS) throw error;
        // Answers that were queued before the overrun are still there: read them first.
        lost = true;
        continue;
      }
      if (count > 0) continue;
      if (lost) return answered + 1;
      if (waited) throw new SysError("recvmmsg", Errno.ETIMEDOUT, { detail: "no acknowledgement" });
      this.#transport.wait();
      waited = true;
    }
    // An answer lost before one that came (the kernel had no memory for it) could be any.
    return lost ? 0 : operations.length;
  }

  #judge(operation: Operation, error: SysError, again: boolean): void {
    if (again && operation.op === "add" && error.errno === Errno.EEXIST) {
      // The lost answer may have been this one, or the success that made the object exist.
      this.#fail(operation, Errno.ENOBUFS, "its acknowledgement was lost; the object exists");
      return;
    }
    this.#failures.push({ operation, error });
  }

  #fail(operation: Operation, number: number, detail: string): void {
    this.#failures.push({ operation, error: refusal(operation, number, detail) });
  }
}

function refusal(operation: Operation, number: number, detail: string | undefined): SysError {
  return new SysError(requestName(operation), number, {
    subject: describeObject(operation),
    detail,
  });
}
