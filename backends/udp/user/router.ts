import type { WorkerCounters } from "./counters.ts";
import type { DatagramSocket, PacketDevice } from "./device.ts";
import { Inbound } from "./inbound.ts";
import { Outbound } from "./outbound.ts";
import type { PacketMemory } from "./packet/memory.ts";
import type { PeerLookup } from "./peer_lookup.ts";

/** What a {@linkcode Router} stands between. */
export interface RouterParts {
  readonly memory: PacketMemory;
  readonly device: PacketDevice;
  readonly socket: DatagramSocket;
  readonly peers: PeerLookup;
  readonly counters: WorkerCounters;
  /** Milliseconds, for the rate of ICMP errors. @default performance.now */
  readonly now?: () => number;
}

/**
 * The data path of one worker: takes packets from the device to the peers and back, with flannel's
 * rules (a TTL each way, ICMP for what has no route) and with a filter that flannel lacks.
 *
 * It never waits and holds no packet between two calls: what the kernel does not take is dropped
 * and counted, so memory does not grow under load.
 *
 * Where the microseconds go (perf, two 2.9 GHz Xeon processors for both ends and iperf3, TCP at 9 to 10
 * Gbit/s). A super-packet of 64 KB costs 33 us to send: 8 copying between kernel and user, 4 cutting and
 * summing, 1 for headers, the rest the kernel's UDP, veth and wake-ups. It costs 24 us to receive: 6
 * copying, 2 summing, 3 for filter and merging, the rest the kernel's TCP and wake-ups. Of 530 ns that
 * a packet takes on the receiving side 75 are ours.
 *
 * A lone packet finds the caches cold (ftrace of system calls, pings at 100 a second, a 2-processor EPYC): from
 * poll to the next call 24 us for one to send and 18 for one to receive, 3 and 6 in a C proxy; now 6 and 9,
 * as the worker looks again every few milliseconds. From recvmmsg to writev it is 17 (C: 3), from readv
 * to sendmmsg 9 (C: 2). At 1000 pings a second all of it is warm, and a ping takes 10 us more than with C.
 */
export class Router {
  readonly #outbound: Outbound;
  readonly #inbound: Inbound;

  constructor(parts: RouterParts) {
    this.#outbound = new Outbound(parts);
    this.#inbound = new Inbound(parts);
  }

  /**
   * Takes what waits at the device to the peers, a bounded number of packets.
   *
   * @param hurry send the first before looking for a second
   * @returns packets read; 0 when none was waiting; -errno when the device cannot be read
   */
  send(hurry = false): number {
    return this.#outbound.pump(hurry);
  }

  /**
   * Takes what has arrived from the peers to the device, at most one batch.
   *
   * @returns trains received; 0 when nothing was waiting; -errno when the socket cannot be read
   */
  receive(): number {
    return this.#inbound.pump();
  }
}
