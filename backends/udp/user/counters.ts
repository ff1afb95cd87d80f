import type { Peer } from "./peer_table.ts";

/** Names of the counters, in their order in memory. Drops by reason begin with "drop". */
export const COUNTERS = [
  // Inner packets and their bytes, after segmenting and before merging.
  "sentPackets",
  "sentBytes",
  "receivedPackets",
  "receivedBytes",
  // Units of system calls: frames from and to the device, segment batches to and from the socket.
  // sentPackets / sentBatches is the mean size of a batch.
  "readFrames",
  "sentBatches",
  "receivedBatches",
  "writtenFrames",
  "wakeups",
  /** ICMP errors sent: no route, and path MTU exceeded. */
  "unreachables",
  "tooBigs",
  /** Not an IPv4 packet; usually the kernel's own IPv6 on the device. */
  "dropSendNotIPv4",
  /** No lease holds the destination. */
  "dropSendNoRoute",
  /** TTL 1 or 0. */
  "dropSendTtl",
  /** Exceeds the path MTU and has DF. */
  "dropSendTooBig",
  /** The socket's buffer was full. */
  "dropSendBuffer",
  /** The kernel refused: a firewall rule, no route to the peer, interface down. */
  "dropSendRefused",
  /** No lease has the datagram's source address as its public IP. */
  "dropReceiveUnknownSender",
  /** The inner source is in the network but not in the sender's lease, or (strict) outside the network. */
  "dropReceiveSpoofed",
  /** The inner destination is not in this host's lease. */
  "dropReceiveForeign",
  /** Shorter than the length in its header, or not IPv4. */
  "dropReceiveMalformed",
  /** Longer than the buffer. */
  "dropReceiveTruncated",
  "dropReceiveTtl",
  /** The device refused the packet: it is down, or deleted. */
  "dropReceiveRefused",
] as const;

/** Name of a counter. */
export type CounterName = typeof COUNTERS[number];

/** Index by name. */
export const Counter = Object.fromEntries(COUNTERS.map((name, index) => [name, index])) as Readonly<
  Record<CounterName, number>
>;

/** Counters by peer: packets and bytes sent, packets and bytes received. */
const PER_PEER = 4;

/** Traffic with one peer. */
export interface PeerCounters {
  readonly sentPackets: number;
  readonly sentBytes: number;
  readonly receivedPackets: number;
  readonly receivedBytes: number;
}

/**
 * Counters of one worker: doubles in shared memory, which the worker writes and the main isolate reads. An aligned
 * 64-bit store is one instruction on all machines that the runtime supports, so a reader sees the old or the new
 * value. Doubles represent integers up to 2^53 (9 petabytes).
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

  /** Traffic of a peer index since the start, including that of former peers with the index. */
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

/** The main isolate's view of all workers' counters. */
export class Counters {
  readonly #workers: WorkerCounters[];
  /** Counts of an index when its present peer got it. */
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

  /** Begins counting for a peer that is new at its index. */
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
