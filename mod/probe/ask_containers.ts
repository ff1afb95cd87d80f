import { sleep } from "../async/sleep.ts";
import { formatIPv4, type IPv4 } from "../ip/mod.ts";
import { SysError } from "../sys/mod.ts";
import {
  type ContainerAnswer,
  decodeContainerMessage,
  encodeContainerMessage,
  NONCE_LENGTH,
  QUERY_LENGTH,
  QUERY_MAGIC,
} from "./container_query.ts";
import { ICMP_HEADER, readEcho, skipIpHeader, writeEcho } from "./echo_message.ts";
import { ProbeSocket, type ProbeSocketOptions } from "./probe_socket.ts";

/** Milliseconds between two reads of answers. */
const POLL_MS = 5;

/** A host to query. */
export interface AskedHost {
  /** Address of the host itself in its lease. */
  readonly address: IPv4;
  /** A container of the asker to which the host sends an echo request. @default none */
  readonly target?: IPv4 | undefined;
}

/** Options of {@linkcode askContainers}. */
export interface AskContainersOptions extends ProbeSocketOptions {
  /** An address of the asker's lease, required by agents. */
  readonly source: IPv4;
  /** Milliseconds to wait for answers; queries without one are sent again after half of it. @default 1000 */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/**
 * Asks the agents of hosts for a container that answers echo requests, and whether the target answers them.
 *
 * @returns the answers in the order of `hosts`; `undefined` without an answer, as of upstream flannel
 * @throws the signal's reason when it aborts
 * @throws {SysError} EPERM without CAP_NET_RAW; EADDRNOTAVAIL when the source is no address of this host
 */
export async function askContainers(
  hosts: readonly AskedHost[],
  { timeout = 1000, signal = new AbortController().signal, ...options }: AskContainersOptions,
): Promise<(ContainerAnswer | undefined)[]> {
  const identifier = crypto.getRandomValues(new Uint16Array(1))[0]!;
  const socket = ProbeSocket.icmp({ identifier, token: QUERY_MAGIC }, options);
  const nonces = hosts.map(() => crypto.getRandomValues(new Uint8Array(NONCE_LENGTH)));
  const answers: (ContainerAnswer | undefined)[] = hosts.map(() => undefined);
  const send = () =>
    hosts.forEach(({ address, target }, sequence) => {
      if (answers[sequence] !== undefined) return;
      const token = encodeContainerMessage({ type: "query", nonce: nonces[sequence]!, target });
      const length = ICMP_HEADER + QUERY_LENGTH;
      writeEcho(socket.outgoing, length, { isReply: false, identifier, sequence, token });
      socket.send(length, address);
    });
  const take = () =>
    socket.receive(({ view, length, from }) => {
      const start = socket.kind === "raw" ? skipIpHeader(view, 0, length) : 0;
      const echo = start === undefined ? undefined : readEcho(view, start, length);
      if (start === undefined || echo === undefined || hosts[echo.sequence]?.address !== from) {
        return;
      }
      const answer = decodeContainerMessage(view, start + ICMP_HEADER, length);
      // The other host's kernel has already echoed the query itself.
      if (answer?.type !== "answer") return;
      if (answer.nonce.some((byte, at) => byte !== nonces[echo.sequence]![at])) return;
      answers[echo.sequence] = answer;
    }, () => {});
  try {
    for (let round = 0; round < 2; round++) {
      send();
      const end = performance.now() + timeout / 2;
      while (answers.includes(undefined) && performance.now() < end) {
        await sleep(POLL_MS, signal);
        signal.throwIfAborted();
        take();
      }
    }
    return answers;
  } finally {
    socket.close();
  }
}

/**
 * Sends an answer.
 *
 * @param from the queried address
 * @throws {SysError}
 */
export function sendAnswer(
  answer: ContainerAnswer,
  { from, to, identifier, sequence, netns }: {
    readonly from: IPv4;
    readonly to: IPv4;
    readonly identifier: number;
    readonly sequence: number;
    readonly netns?: string | undefined;
  },
): void {
  const socket = ProbeSocket.icmp({ identifier, token: QUERY_MAGIC }, { netns, source: from });
  try {
    const length = ICMP_HEADER + QUERY_LENGTH;
    const token = encodeContainerMessage(answer);
    writeEcho(socket.outgoing, length, { isReply: true, identifier, sequence, token });
    const error = socket.send(length, to);
    if (error !== 0) throw new SysError("sendto", error, { subject: formatIPv4(to) });
  } finally {
    socket.close();
  }
}
