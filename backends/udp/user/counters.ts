import type { Peer } from "./peer_table.ts";

/** What the data path counts, in the order in which it lies in memory. Reasons begin with "drop". */
export const COUNTERS = [
  // Packets and bytes of the inner packets, after cutting and before merging.
  "sentPackets",
  "sentBytes",
  "receivedPackets",
  "receivedBytes",
  // System calls' worth: trains given to the socket, frames to and from the device, datagram
  // batches. sentPackets / sentTrains says how well cutting works.
  "readFrames",
  "sentTrains",
  "receivedTrains",
  "writtenFrames",
  "wakeups",
  /** ICMP errors to the sender: no route, and too big for the path. */
  "unreachables",
  "tooBigs",
  /** Not an IPv4 packet: the kernel's own IPv6 on the device, mostly. */
  "dropSendNotIPv4",
  /** No lease holds the destination. */
  "dropSendNoRoute",
  /** The TTL was used up. */
  "dropSendTtl",
  /** Bigger than the path, and not to be fragmented. */
  "dropSendTooBig",
  /** The socket's buffer was full. */
  "dropSendBuffer",
  /** The kernel refused: a firewall rule, no route to the peer, interface down. */
  "dropSendRefused",
  /** The source address of the datagram owns no lease. */
  "dropReceiveUnknownSender",
  /** The inner source is in the network and not in the sender's lease, or (strict) outside. */
  "dropReceiveSpoofed",
  /** The inner destination is not in our lease. */
  "dropReceiveForeign",
  /** Shorter than its header says, or not IPv4. */
  "dropReceiveMalformed",
  /** Larger than the buffer. */
  "dropReceiveTruncated",
  "dropReceiveTtl",
  /** The device refused: it is down, or gone. */
  "dropReceiveRefused",
] as const;

/** Name of a counter. */
export type CounterName = typeof COUNTERS[number];

/** Index by name. */
export const Counter = Object.fromEntries(COUNTERS.map((name, index) => [name, index])) as Readonly<
  Record<CounterName, number>
>;

/** Per peer: packets and bytes sent, packets and bytes received. */
const PER_PEER = 4;

/** Traffic with one peer. */
export interface PeerCounters {
  readonly sentPackets: number;
  readonly sentBytes: number;
  readonly receivedPackets: number;
  readonly receivedBytes: number;
}

/**
 * A worker's counters: doubles in shared memory, written by that worker alone, read by the main
 * isolate whenever it likes. An aligned 64-bit store is one instruction on every machine the
 * runtime exists for, so a reader sees the old or the new value; doubles count whole numbers up to
 * 2^53 (9 petabytes).
 */
export class WorkerCounters {
  /** By {@linkcode Counter}: written directly, `values[Counter.sentPackets]! += n`. */
  readonly values: Float64Array<SharedArrayBuffer>;
  readonly #peers: Float64Array<SharedArrayBuffer>;

  constructor(memory: SharedArrayBuffer) {
    this.values = new Float64Array(memory, 0, COUNTERS.length);
    this.#peers = new Float64Array(memory, COUNTERS.length * 8);
  }

  /** Memory for the counters of one worker. */
  static allocate(capacity: number): SharedArrayBuffer {
    return new SharedArrayBuffer((COUNTERS.length + (capacity + 1) * PER_PEER) * 8);
  }

  /** Counts packets sent to a peer. */
  sent(peer: number, packets: number, bytes: number): void {
    this.values[Counter.sentPackets]! += packets;
    this.values[Counter.sentBytes]! += bytes;
    this.#peers[peer * PER_PEER]! += packets;
    this.#peers[peer * PER_PEER + 1]! += bytes;
  }

  /** Counts packets received from a peer. */
  received(peer: number, packets: number, bytes: number): void {
    this.values[Counter.receivedPackets]! += packets;
    this.values[Counter.receivedBytes]! += bytes;
    this.#peers[peer * PER_PEER + 2]! += packets;
    this.#peers[peer * PER_PEER + 3]! += bytes;
  }

  /** Counts of a peer's index since start, whoever had the index before included. */
  peer(index: number): PeerCounters {
    const [sentPackets, sentBytes, receivedPackets, receivedBytes] = this.#peers.subarray(
      index * PER_PEER,
      (index + 1) * PER_PEER,
    );
    return {
      sentPackets: sentPackets!,
      sentBytes: sentBytes!,
      receivedPackets: receivedPackets!,
      receivedBytes: receivedBytes!,
    };
  }
}

/** The counters of all workers, as the main isolate sees them. */
export class Counters {
  readonly #workers: WorkerCounters[];
  /** What an index had counted when its present peer got it. */
  readonly #baseline = new Map<number, { publicIP: number; counts: PeerCounters }>();

  constructor(memories: readonly SharedArrayBuffer[]) {
    this.#workers = memories.map((memory) => new WorkerCounters(memory));
  }

  /** Sums over all workers. */
  totals(): Record<CounterName, number> {
    const entries = COUNTERS.map((name, index) =>
      [name, this.#workers.reduce((sum, { values }) => sum + values[index]!, 0)] as const
    );
    return Object.fromEntries(entries) as Record<CounterName, number>;
  }

  /** Begins to count for a peer that is new at its index. */
  begin(peer: Peer): void {
    if (this.#baseline.get(peer.index)?.publicIP === peer.publicIP) return;
    this.#baseline.set(peer.index, { publicIP: peer.publicIP, counts: this.#sum(peer.index) });
  }

  /** Traffic with a peer since {@linkcode Counters.begin}. */
  peer(peer: Peer): PeerCounters {
    const now = this.#sum(peer.index);
    const before = this.#baseline.get(peer.index)?.counts;
    return before === undefined ? now : combine(now, before, -1);
  }

  #sum(index: number): PeerCounters {
    return this.#workers.map((worker) => worker.peer(index)).reduce((a, b) => combine(a, b, 1));
  }
}

function combine(a: PeerCounters, b: PeerCounters, sign: number): PeerCounters {
  return {
    sentPackets: a.sentPackets + sign * b.sentPackets,
    sentBytes: a.sentBytes + sign * b.sentBytes,
    receivedPackets: a.receivedPackets + sign * b.receivedPackets,
    receivedBytes: a.receivedBytes + sign * b.receivedBytes,
  };
}
