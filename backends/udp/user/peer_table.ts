import { formatIPv4, type IPv4, Prefix } from "../../../mod/ip/mod.ts";
import type { SharedPeerTable } from "./peer_lookup.ts";
import {
  bucketOf,
  FINE,
  Flag,
  NO_LEASE,
  type TableLayout,
  tableLayout,
  Word,
} from "./table_layout.ts";

/** Options of {@linkcode PeerTable}. */
export interface PeerTableOptions {
  /** All leases lie in it. */
  readonly network: Prefix;
  /** Prefix length of most leases; changes of leases of other lengths cost a little more. */
  readonly subnetLen: number;
  /** Accept datagrams from any address, with any inner source. @default false */
  readonly acceptAny?: boolean;
  /** Drop inner sources outside the network. @default false */
  readonly strictSource?: boolean;
}

/** Another host of the network. */
export interface Peer {
  readonly publicIP: IPv4;
  /** Index in the per-peer counters, 1 and up; stays the same while the peer has a lease. */
  readonly index: number;
}

/**
 * Holders of subnets, in memory that the workers read while the main isolate writes it; {@linkcode PeerLookup}
 * explains why that is safe. Only one isolate writes.
 *
 * A change of a lease of the configured length writes one word. A shorter lease fills the words of all subnets
 * that it covers, in as many runs as there are leases inside. A change sends no message and waits for no
 * worker. Where leases nest, the longest prefix applies.
 */
export class PeerTable {
  readonly #layout: TableLayout;
  readonly #words: Uint32Array<SharedArrayBuffer>;
  readonly #network: Prefix;
  readonly #subnetLen: number;
  /** By prefix length, then by first address: the peer's index. */
  readonly #leases: Map<IPv4, number>[] = Array.from({ length: 33 }, () => new Map());
  /** Number of leases longer than subnetLen by coarse slot; absent for 0. */
  readonly #fineLeases = new Map<number, number>();
  readonly #peers = new Map<IPv4, { readonly index: number; leases: number }>();
  /** Next index that was never used; after the last one, the index that is free for longest is used again. */
  #nextIndex = 1;
  readonly #freed: number[] = [];

  /**
   * @throws {RangeError} when subnetLen does not fit the network
   */
  constructor(options: PeerTableOptions) {
    this.#network = options.network;
    this.#subnetLen = options.subnetLen;
    this.#layout = tableLayout(options.network, options.subnetLen);
    // The allocator provides zeroed pages on first use, so unused parts cost nothing.
    this.#words = new Uint32Array(new SharedArrayBuffer(this.#layout.size * 4));
    this.#words[Word.Flags] = (options.acceptAny ? Flag.AcceptAny : 0) |
      (options.strictSource ? Flag.StrictSource : 0);
    this.setOwn(undefined);
  }

  /** Memory and layout, for the workers. */
  get shared(): SharedPeerTable {
    return { memory: this.#words.buffer, layout: this.#layout };
  }

  /** Highest index of a peer. */
  get capacity(): number {
    return this.#layout.capacity;
  }

  /** Peers that have a lease. */
  *peers(): IterableIterator<Peer> {
    for (const [publicIP, { index }] of this.#peers) yield { publicIP, index };
  }

  /** Number of leases. */
  get size(): number {
    return this.#leases.reduce((sum, leases) => sum + leases.size, 0);
  }

  /**
   * Sets this host's lease, to which packets from peers must be addressed.
   *
   * @param lease `undefined` drops all packets
   */
  setOwn(lease: Prefix | undefined): void {
    // No lease in between: a reader must not combine the old address with the new mask.
    Atomics.store(this.#words, Word.OwnAddress, NO_LEASE);
    if (lease === undefined) return;
    Atomics.store(this.#words, Word.OwnMask, lease.mask);
    Atomics.store(this.#words, Word.OwnAddress, lease.address);
  }

  /** Drops inner sources outside the network, or accepts them. */
  setStrictSource(isStrict: boolean): void {
    const change = isStrict ? Atomics.or : Atomics.and;
    change(this.#words, Word.Flags, isStrict ? Flag.StrictSource : ~Flag.StrictSource);
  }

  /**
   * Routes `subnet` to `publicIP`; replaces a former holder.
   *
   * @returns the peer's index
   * @throws {RangeError} when the subnet is not in the network or longer than the table can route, or when there are
   * too many peers
   */
  set(subnet: Prefix, publicIP: IPv4): number {
    if (!this.#network.containsPrefix(subnet)) {
      throw new RangeError(`${subnet} is not within Network ${this.#network}`);
    }
    if (subnet.length > this.#layout.longest) {
      throw new RangeError(
        `${subnet} is longer than /${this.#layout.longest}, the longest that Network ` +
          `${this.#network} can route`,
      );
    }
    const leases = this.#leases[subnet.length]!;
    const before = leases.get(subnet.address);
    const index = this.#acquire(publicIP);
    leases.set(subnet.address, index);
    if (before === undefined && subnet.length > this.#subnetLen) this.#countFineLease(subnet);
    this.#writeSlots(subnet);
    if (before !== undefined) this.#release(before);
    return index;
  }

  /**
   * Removes a subnet. A shorter lease that contains it applies again.
   *
   * @returns false when the subnet is unknown
   */
  remove(subnet: Prefix): boolean {
    const leases = this.#leases[subnet.length]!;
    const index = leases.get(subnet.address);
    if (index === undefined) return false;
    leases.delete(subnet.address);
    if (subnet.length > this.#subnetLen) this.#uncountFineLease(subnet);
    this.#writeSlots(subnet);
    this.#release(index);
    return true;
  }

  /** Sets the workers' stop flag. The caller must wake them. */
  stop(): void {
    Atomics.store(this.#words, Word.Stop, 1);
  }

  /** Writes the slots of `subnet` by the present leases. */
  #writeSlots(subnet: Prefix): void {
    const { coarse, coarseShift } = this.#layout;
    const slotSize = 2 ** coarseShift;
    const starts = this.#runsOf(subnet);
    const end = starts.pop()!;
    for (const [i, slot] of starts.entries()) {
      const address = this.#network.address + slot * slotSize;
      if (this.#fineLeases.has(slot)) {
        this.#writeFineSlots(Math.max(address, subnet.address), Math.min(slotSize, subnet.size));
        Atomics.store(this.#words, coarse + slot, FINE);
      } else {
        const match = this.#longestMatch(address, this.#subnetLen);
        this.#words.fill(match, coarse + slot, coarse + (starts[i + 1] ?? end));
      }
    }
  }

  /** First coarse slot of each run in `subnet` to which one lease applies, and the slot behind the last run. */
  #runsOf(subnet: Prefix): number[] {
    const { coarseShift } = this.#layout;
    const first = this.#offset(subnet.address) >>> coarseShift;
    const end = (this.#offset(subnet.last) >>> coarseShift) + 1;
    if (end - first === 1) return [first, end];
    const starts = new Set([first, end]);
    const mark = (from: number, to: number) => {
      if (from < first || to > end) return;
      starts.add(from);
      starts.add(to);
    };
    for (const slot of this.#fineLeases.keys()) mark(slot, slot + 1);
    for (let length = subnet.length + 1; length <= this.#subnetLen; length++) {
      const slots = 2 ** (this.#subnetLen - length);
      for (const address of this.#leases[length]!.keys()) {
        const slot = this.#offset(address) >>> coarseShift;
        mark(slot, slot + slots);
      }
    }
    return [...starts].sort((a, b) => a - b);
  }

  #writeFineSlots(address: IPv4, size: number): void {
    const { fine, fineShift, longest } = this.#layout;
    for (let at = address; at < address + size; at += 2 ** fineShift) {
      const slot = fine + (this.#offset(at) >>> fineShift);
      Atomics.store(this.#words, slot, this.#longestMatch(at, longest));
    }
  }

  #longestMatch(address: IPv4, longest: number): number {
    for (let length = longest; length >= this.#network.length; length--) {
      const leases = this.#leases[length]!;
      if (leases.size === 0) continue;
      const index = leases.get(new Prefix(address, length).address);
      if (index !== undefined) return index;
    }
    return 0;
  }

  /**
   * Counts a lease longer than subnetLen. The first one in a coarse slot fills the slot's fine slots, before the
   * coarse slot sends readers there.
   */
  #countFineLease(subnet: Prefix): void {
    const { coarse, coarseShift, fine, fineShift } = this.#layout;
    const slot = this.#offset(subnet.address) >>> coarseShift;
    const count = this.#fineLeases.get(slot) ?? 0;
    this.#fineLeases.set(slot, count + 1);
    if (count > 0) return;
    const perSlot = 2 ** (coarseShift - fineShift);
    const begin = fine + slot * perSlot;
    this.#words.fill(this.#words[coarse + slot]!, begin, begin + perSlot);
  }

  #uncountFineLease(subnet: Prefix): void {
    const slot = this.#offset(subnet.address) >>> this.#layout.coarseShift;
    const count = this.#fineLeases.get(slot)! - 1;
    if (count === 0) this.#fineLeases.delete(slot);
    else this.#fineLeases.set(slot, count);
  }

  #offset(address: IPv4): number {
    return address - this.#network.address;
  }

  #acquire(publicIP: IPv4): number {
    const known = this.#peers.get(publicIP);
    if (known !== undefined) {
      known.leases++;
      return known.index;
    }
    const { capacity, address, next } = this.#layout;
    if (this.#nextIndex > capacity && this.#freed.length === 0) {
      throw new RangeError(`no room for ${formatIPv4(publicIP)}: ${capacity} peers are known`);
    }
    const index = this.#nextIndex <= capacity ? this.#nextIndex++ : this.#freed.shift()!;
    this.#peers.set(publicIP, { index, leases: 1 });
    this.#change(() => {
      const bucket = bucketOf(this.#layout, publicIP);
      Atomics.store(this.#words, address + index, publicIP);
      Atomics.store(this.#words, next + index, Atomics.load(this.#words, bucket));
      Atomics.store(this.#words, bucket, index);
    });
    return index;
  }

  #release(index: number): void {
    const { address, next } = this.#layout;
    const publicIP = this.#words[address + index]!;
    const peer = this.#peers.get(publicIP)!;
    if (--peer.leases > 0) return;
    this.#peers.delete(publicIP);
    this.#change(() => {
      let link = bucketOf(this.#layout, publicIP);
      while (this.#words[link] !== index) link = next + this.#words[link]!;
      Atomics.store(this.#words, link, this.#words[next + index]!);
      Atomics.store(this.#words, address + index, 0);
    });
    this.#freed.push(index);
  }

  /** Runs a change of the index by public IP. A reader that finds nothing meanwhile starts again. */
  #change(body: () => void): void {
    Atomics.add(this.#words, Word.Version, 1);
    body();
    Atomics.add(this.#words, Word.Version, 1);
  }
}
