/**
 * Encodes and decodes the agents' queries about containers. The query is the data of an ICMP echo request, the
 * answer is the data of an ICMP echo reply, {@linkcode QUERY_LENGTH} bytes each.
 *
 * ```text
 *  0  8  "flnlctr1": the protocol and its version
 *  8  1  1 query, 2 answer
 *  9  1  answer: ContainerState
 * 10  1  answer: TargetState
 * 11  1  zero
 * 12  8  nonce: an answer repeats its query's
 * 20  4  query: the target, an address of the asker's own subnet for an echo request, or zero
 *        answer: a container that answers echo requests, or zero
 * 24  8  zero
 * ```
 *
 * Numbers are in network byte order. A query is as long as its answer, so that a forged source address causes
 * no amplification (RFC 5358).
 *
 * @module
 */
import type { IPv4 } from "../ip/mod.ts";

/** Bytes of a query and of an answer. */
export const QUERY_LENGTH = 32;
/** Bytes of a nonce. */
export const NONCE_LENGTH = 8;
/** First bytes of query and answer. */
export const QUERY_MAGIC: Uint8Array = new TextEncoder().encode("flnlctr1");

const QUERY = 1;
const ANSWER = 2;

/** States of a host's containers, in the order of their numbers on the wire. */
const CONTAINER_STATES = [
  /** No bridge has an address of the lease. */
  "no-bridge",
  /** A bridge without ports. */
  "none",
  /** The bridge has ports, but no container answers an echo request. */
  "silent",
  /** A container answers echo requests. */
  "answers",
] as const;

/** Outcomes of the echo request to the target, in the order of their numbers on the wire. */
const TARGET_STATES = ["not-asked", "answered", "silent", "not-sent"] as const;

/** See {@linkcode ContainerAnswer}. */
export type ContainerState = (typeof CONTAINER_STATES)[number];
/** See {@linkcode ContainerAnswer}. */
export type TargetState = (typeof TARGET_STATES)[number];

/** Asks a host for one of its containers, and to send an echo request to a container of the asker. */
export interface ContainerQuery {
  readonly type: "query";
  /** {@linkcode NONCE_LENGTH} random bytes. */
  readonly nonce: Uint8Array;
  /** An address of the asker's subnet; absent: no echo request. */
  readonly target: IPv4 | undefined;
}

/** Answer of a host to a {@linkcode ContainerQuery}. */
export interface ContainerAnswer {
  readonly type: "answer";
  readonly nonce: Uint8Array;
  readonly containers: ContainerState;
  /** Present if {@linkcode ContainerAnswer.containers} is `answers`. */
  readonly container: IPv4 | undefined;
  readonly target: TargetState;
}

/** Encodes a query or an answer. */
export function encodeContainerMessage(
  message: ContainerQuery | ContainerAnswer,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(QUERY_LENGTH));
  const view = new DataView(bytes.buffer);
  bytes.set(QUERY_MAGIC);
  bytes.set(message.nonce.subarray(0, NONCE_LENGTH), 12);
  if (message.type === "query") {
    view.setUint8(8, QUERY);
    view.setUint32(20, message.target ?? 0);
  } else {
    view.setUint8(8, ANSWER);
    view.setUint8(9, CONTAINER_STATES.indexOf(message.containers));
    view.setUint8(10, TARGET_STATES.indexOf(message.target));
    view.setUint32(20, message.container ?? 0);
  }
  return bytes;
}

/**
 * Decodes the bytes of a message from `start` to `end`.
 *
 * @returns `undefined` when it is neither query nor answer, or of another version
 */
export function decodeContainerMessage(
  view: DataView,
  start: number,
  end: number,
): ContainerQuery | ContainerAnswer | undefined {
  if (end - start !== QUERY_LENGTH) return undefined;
  if (QUERY_MAGIC.some((byte, at) => view.getUint8(start + at) !== byte)) return undefined;
  const nonce = new Uint8Array(NONCE_LENGTH);
  nonce.forEach((_, at) => nonce[at] = view.getUint8(start + 12 + at));
  const address = view.getUint32(start + 20) || undefined;
  const type = view.getUint8(start + 8);
  if (type === QUERY) return { type: "query", nonce, target: address };
  const containers = CONTAINER_STATES[view.getUint8(start + 9)];
  const target = TARGET_STATES[view.getUint8(start + 10)];
  if (type !== ANSWER || containers === undefined || target === undefined) return undefined;
  if ((containers === "answers") !== (address !== undefined)) return undefined;
  return { type: "answer", nonce, containers, container: address, target };
}
