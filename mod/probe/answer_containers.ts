import { formatIPv4, type IPv4 } from "../ip/mod.ts";
import { sendAnswer } from "./ask_containers.ts";
import {
  type ContainerAnswer,
  type ContainerQuery,
  decodeContainerMessage,
  QUERY_MAGIC,
} from "./container_query.ts";
import { ICMP_HEADER, readEcho, skipIpHeader } from "./echo_message.ts";
import { TokenBucket } from "../async/token_bucket.ts";
import { ProbeSocket, type ProbeSocketOptions, type Received } from "./probe_socket.ts";

/** Limits of answered queries: per second, and per burst. Other queries are dropped. */
const RATE = 10;
const BURST = 20;

/** A query, and where it came from. */
export interface ReceivedQuery extends Pick<ContainerQuery, "target"> {
  readonly from: IPv4;
  /** The queried address of this host. */
  readonly to: IPv4;
  /** Index of the interface that received it. */
  readonly interface: number;
}

/** An answer without its nonce, which is the query's. */
export type Answer = Omit<ContainerAnswer, "type" | "nonce">;

/** Options of {@linkcode answerContainerQueries}. */
export interface AnswerOptions extends ProbeSocketOptions {
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Receives the reason why an answer was not sent. */
  readonly onError: (message: string) => void;
}

/**
 * Answers the queries of other hosts until the signal aborts. It waits in poll(2) on another thread,
 * and wakes up for queries alone.
 *
 * @param answer returns the answer; `undefined` for none
 * @throws {SysError} EPERM without CAP_NET_RAW
 */
export async function answerContainerQueries(
  answer: (query: ReceivedQuery) => Promise<Answer | undefined>,
  { signal, onError, ...options }: AnswerOptions,
): Promise<void> {
  const socket = ProbeSocket.echoRequests(QUERY_MAGIC, options);
  const bucket = new TokenBucket(RATE, BURST, performance.now());
  const take = async (received: NonNullable<ReturnType<typeof readQuery>>): Promise<void> => {
    const { query: { nonce, target }, from, to, identifier, sequence } = received;
    try {
      const found = await answer({ from, to, target, interface: received.interface });
      if (found === undefined || signal.aborted) return;
      sendAnswer({ ...found, type: "answer", nonce }, {
        ...{ from: to, to: from, identifier, sequence, netns: options.netns },
      });
    } catch (error) {
      if (!signal.aborted) onError(`no answer to ${formatIPv4(from)}: ${(error as Error).message}`);
    }
  };
  const wake = () => socket.wake();
  signal.addEventListener("abort", wake);
  try {
    while (!signal.aborted) {
      await socket.wait();
      socket.receive((message) => {
        const received = readQuery(message);
        if (received !== undefined && bucket.take(performance.now()) === 0) void take(received);
      }, () => {});
    }
  } finally {
    signal.removeEventListener("abort", wake);
    socket.close();
  }
}

function readQuery({ view, length, from, interface: index }: Received) {
  const start = skipIpHeader(view, 0, length);
  if (start === undefined || index === undefined) return undefined;
  const echo = readEcho(view, start, length);
  const query = decodeContainerMessage(view, start + ICMP_HEADER, length);
  if (echo === undefined || echo.isReply || query?.type !== "query") return undefined;
  const { identifier, sequence } = echo;
  // The IP header's destination, RFC 791.
  return { query, from, to: view.getUint32(16), interface: index, identifier, sequence };
}
