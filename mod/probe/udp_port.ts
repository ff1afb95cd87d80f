import { formatIPv4, type IPv4 } from "../ip/mod.ts";
import { sleep } from "../async/sleep.ts";
import { SysError } from "../sys/mod.ts";
import { type Failure, failureOf, PORT_UNREACHABLE, PROHIBITED } from "./outcome.ts";
import { ProbeSocket, type ProbeSocketOptions } from "./probe_socket.ts";

/** Datagrams to each address, in case one is lost or its ICMP error is rate-limited (icmp(7)). */
const COPIES = 2;

/** Answer of a UDP port to an empty datagram. */
export type PortOutcome =
  /** No answer: a tunnel, or a firewall that drops. */
  | { readonly type: "silent" }
  /** No socket listens there. */
  | { readonly type: "closed"; readonly by: IPv4 }
  /** A firewall refuses it. @property words for people */
  | { readonly type: "rejected"; readonly by: IPv4; readonly words: string }
  | Exclude<Failure, { readonly type: "timeout" }>;

/** Options of {@linkcode probeUdpPort}. */
export interface UdpPortOptions extends ProbeSocketOptions {
  /** Milliseconds to wait for answers. @default 500 */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/**
 * Sends empty datagrams, which tunnels ignore, to a UDP port of each address, and receives the ICMP errors.
 *
 * @returns the outcomes in the order of `addresses`
 * @throws the signal's reason when it aborts
 * @throws {SysError} when no socket can be opened
 */
export async function probeUdpPort(
  addresses: readonly IPv4[],
  port: number,
  { timeout = 500, signal = new AbortController().signal, ...options }: UdpPortOptions = {},
): Promise<PortOutcome[]> {
  const socket = ProbeSocket.udp(options);
  const outcomes = new Map<IPv4, PortOutcome>();
  const take = () =>
    socket.receive(() => {}, (error) => {
      if (error.port === port) outcomes.set(error.to, outcomeOf(failureOf(error)));
    });
  /** Receives all queued errors for a limited time: ICMP errors may come faster than it reads them. */
  const takeAll = async (limitMs: number) => {
    const until = performance.now() + limitMs;
    while (take() && performance.now() < until) await sleep(0, signal);
  };
  try {
    for (let copy = 0; copy < COPIES; copy++) {
      for (const address of addresses) {
        if (outcomes.has(address)) continue;
        let error = socket.send(0, address, port);
        if (error !== 0) {
          take();
          // The error may belong to an earlier datagram.
          error = outcomes.has(address) ? 0 : socket.send(0, address, port);
        }
        if (error === 0) continue;
        const subject = formatIPv4(address);
        outcomes.set(address, {
          type: "not-sent",
          error: new SysError("sendto", error, { subject }),
        });
      }
      await sleep(timeout / COPIES, signal);
      signal.throwIfAborted();
      await takeAll(timeout / COPIES);
    }
  } finally {
    socket.close();
  }
  return addresses.map((address) => outcomes.get(address) ?? { type: "silent" });
}

function outcomeOf(failure: Failure): PortOutcome {
  if (failure.type === "timeout") return { type: "silent" };
  if (failure.type !== "unreachable") return failure;
  if (failure.code === PORT_UNREACHABLE) return { type: "closed", by: failure.by };
  if (PROHIBITED.includes(failure.code)) {
    return { type: "rejected", by: failure.by, words: failure.words };
  }
  return failure;
}
