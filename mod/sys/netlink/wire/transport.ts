import type { Visit } from "./receive_vector.ts";

/**
 * How long the expected datagrams are: `dump` few and long, `acknowledgements` many and short.
 */
export type Expected = "dump" | "acknowledgements";

/** Carries netlink messages to something that answers them: the kernel, or a recorder. */
export interface Transport extends Disposable {
  /** Longest send in bytes. */
  readonly sendLimit: number;
  /** How many messages one send may hold so that the answers fit even when every one fails. */
  readonly messageLimit: number;
  /** The socket's own port, by which multicasts name the sender of a change; 0 without a socket. */
  readonly port: number;
  /** System calls made so far. */
  readonly systemCalls: number;

  /**
   * Hands over one or more messages. The answers are queued when it returns.
   *
   * @throws {SysError} when they could not be handed over; the failure of a message is an answer
   */
  send(bytes: Uint8Array<ArrayBuffer>): void;

  /**
   * Takes queued answers, without waiting.
   *
   * @returns how many datagrams there were
   * @throws {SysError} ENOBUFS when answers were lost
   */
  receive(expected: Expected, visit: Visit): number;

  /**
   * Waits until an answer is queued.
   *
   * @throws {SysError} ETIMEDOUT after a second
   */
  wait(): void;
}
