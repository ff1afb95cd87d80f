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
  /** Prefix length of most leases; others work, a little slower to change. */
  readonly subnetLen: number;
  /** Take datagrams from any address, with any inner source. @default false */
  readonly acceptAny?: boolean;
  /** Refuse inner sources outside the network. @default false */
  readonly strictSource?: boolean;
}

/** A host that packets go to. */
export interface Peer {
  readonly publicIP: IPv4;
  /** Its place in the per-peer counters, 1 and up; kept while the peer has a lease. */
  readonly index: number;
}

/**
 * Which host holds which subnet, in memory that the workers of the data path read while it is being
 * written (see {@linkcode PeerLookup} for how that goes well). Only one isolate writes.
 *
 * A change of a lease of the configured length writes one word. A shorter lease fills the words of all subnets
 * that it covers, in as many runs as there are leases inside. A change sends no message and waits for no
 * worker. Where leases nest, the longest prefix counts.
 */
export class PeerTable {
  readonly #layout: TableLayout;
  readonly #words: Uint32Array<SharedArrayBuffer>;
  readonly #network: Prefix;
  readonly #subnetLen: number;
  /** By prefix length, then by first address: the peer's index. */
  readonly #leases: Map<IPv4, number>[] = Array.from({ length: 33 }, () => new Map());
  /** How many leases longer than subnetLen lie in a coarse slot, where there are any. */
  readonly #crowded = new Map<number, number>();
  readonly #peers = new Map<IPv4, { readonly index: number; leases: number }>();
  /** Indices to give out: those never used, then the one that is free for longest. */
  #nextIndex = 1;
  readonly #freed: number[] = [];

  /**
   * @throws {RangeError} when subnetLen does not fit the network
   */
  constructor(options: PeerTableOptions) {
    this.#network = options.network;
    this.#subnetLen = options.subnetLen;
    this.#layout = tableLayout(options.network, options.subnetLen);
    // Zeroed by the allocator and backed page by page: what is not used costs nothing.
    this.#words = new Uint32Array(new SharedArrayBuffer(this.#layout.size * 4));
    this.#words[Word.Flags] = (options.acceptAny ? Flag.AcceptAny : 0) |
      (options.strictSource ? Flag.StrictSource : 0);
    this.setOwn(undefined);
  }

  /** For the workers. */
  get shared(): SharedPeerTable {
    return { memory: this.#words.buffer, layout: this.#layout };
  }

  /** Highest index that a peer can have. */
  get capacity(): number {
    return this.#layout.capacity;
  }

  /** The peers that have a lease. */
  *peers(): IterableIterator<Peer> {
    for (const [publicIP, { index }] of this.#peers) yield { publicIP, index };
  }

  /** How many leases there are. */
  get size(): number {
    return this.#leases.reduce((sum, leases) => sum + leases.size, 0);
  }

  /**
   * Names our own lease: what packets from peers may be addressed to.
   *
   * @param lease `undefined`: none, nothing may pass
   */
  setOwn(lease: Prefix | undefined): void {
    // Closed in between: a reader must not see the old address with the new mask.
    Atomics.store(this.#words, Word.OwnAddress, NO_LEASE);
    if (lease === undefined) return;
    Atomics.store(this.#words, Word.OwnMask, lease.mask);
    Atomics.store(this.#words, Word.OwnAddress, lease.address);
  }

  /** Refuses inner sources outside the network, or lets them pass. */
  setStrictSource(isStrict: boolean): void {
    const change = isStrict ? Atomics.or : Atomics.and;
    change(this.#words, Word.Flags, isStrict ? Flag.StrictSource : ~Flag.StrictSource);
  }

  /**
   * Sends what is addressed to `subnet` to `publicIP`, in place of what was said of it before.
   *
   * @returns the peer's index
   * @throws {RangeError} when the subnet lies outside the network, is too long to be told apart, or
   * there are too many peers
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
    if (before === undefined && subnet.length > this.#subnetLen) this.#crowd(subnet);
    this.#paint(subnet);
    if (before !== undefined) this.#release(before);
    return index;
  }

  /**
   * Forgets a subnet. What a shorter lease around it says counts again.
   *
   * @returns false when it was not known
   */
  remove(subnet: Prefix): boolean {
    const leases = this.#leases[subnet.length]!;
    const index = leases.get(subnet.address);
    if (index === undefined) return false;
    leases.delete(subnet.address);
    if (subnet.length > this.#subnetLen) this.#thin(subnet);
    this.#paint(subnet);
    this.#release(index);
    return true;
  }

  /** Tells the workers to end; whoever calls it wakes them too. */
  stop(): void {
    Atomics.store(this.#words, Word.Stop, 1);
  }

  /** Writes the slots that `subnet` covers from what the leases say now. */
  #paint(subnet: Prefix): void {
    const { coarse, coarseShift } = this.#layout;
    const slotSize = 2 ** coarseShift;
    const starts = this.#runsOf(subnet);
    const end = starts.pop()!;
    for (const [i, slot] of starts.entries()) {
      const address = this.#network.address + slot * slotSize;
      if (this.#crowded.has(slot)) {
        this.#paintFine(Math.max(address, subnet.address), Math.min(slotSize, subnet.size));
        Atomics.store(this.#words, coarse + slot, FINE);
      } else {
        const match = this.#longestMatch(address, this.#subnetLen);
        this.#words.fill(match, coarse + slot, coarse + (starts[i + 1] ?? end));
      }
    }
  }

  /** First coarse slots of the runs in `subnet` that one lease matches each, and the slot behind the last. */
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
    for (const slot of this.#crowded.keys()) mark(slot, slot + 1);
    for (let length = subnet.length + 1; length <= this.#subnetLen; length++) {
      const slots = 2 ** (this.#subnetLen - length);
      for (const address of this.#leases[length]!.keys()) {
        const slot = this.#offset(address) >>> coarseShift;
        mark(slot, slot + slots);
      }
    }
    return [...starts].sort((a, b) => a - b);
  }

  #paintFine(address: IPv4, size: number): void {
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
   * Counts a lease that shares a coarse slot with others. The first one makes the slot's fine ones
   * right before any reader is sent there: so far all of them say the same.
   */
  #crowd(subnet: Prefix): void {
    const { coarse, coarseShift, fine, fineShift } = this.#layout;
    const slot = this.#offset(subnet.address) >>> coarseShift;
    const count = this.#crowded.get(slot) ?? 0;
    this.#crowded.set(slot, count + 1);
    if (count > 0) return;
    const perSlot = 2 ** (coarseShift - fineShift);
    const begin = fine + slot * perSlot;
    this.#words.fill(this.#words[coarse + slot]!, begin, begin + perSlot);
  }

  #thin(subnet: Prefix): void {
    const slot = this.#offset(subnet.address) >>> this.#layout.coarseShift;
    const count = this.#crowded.get(slot)! - 1;
    if (count === 0) this.#crowded.delete(slot);
    else this.#crowded.set(slot, count);
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

  /** Changes the index by public IP: a reader that finds nothing meanwhile looks again. */
  #change(body: () => void): void {
    Atomics.add(this.#words, Word.Version, 1);
    body();
    Atomics.add(this.#words, Word.Version, 1);
  }
}
