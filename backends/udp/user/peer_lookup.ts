import type { IPv4 } from "../../../mod/ip/mod.ts";
import { bucketOf, FINE, Flag, type TableLayout, Word } from "./table_layout.ts";

/** Shared memory of a peer table, as it is sent to a worker. */
export interface SharedPeerTable {
  readonly memory: SharedArrayBuffer;
  readonly layout: TableLayout;
}

/**
 * A worker's view of the peer table: reads what the main isolate writes, without locks and without
 * ever waiting for it.
 *
 * Why that is right. A slot is one 32-bit word, so a lookup sees the state before or after a change.
 * A peer's index can be given to another peer once no slot holds it; a lookup that read the index
 * before and the address after would mix two peers, hence it reads the slot once more: unchanged,
 * the two belong together. Every retry means that the main isolate wrote in between; after
 * {@linkcode RETRIES} of them the answer is "nobody", and a packet is lost, as one is whose route
 * changes while it is on its way.
 */
export class PeerLookup {
  readonly #words: Uint32Array<SharedArrayBuffer>;
  readonly #layout: TableLayout;
  /** Index of the peer that the last {@linkcode PeerLookup.route} found, for its counters. */
  peer = 0;

  constructor(shared: SharedPeerTable) {
    this.#words = new Uint32Array(shared.memory);
    this.#layout = shared.layout;
  }

  /**
   * Public IP of the peer whose lease holds `address`: the longest one, in constant time.
   *
   * @returns 0 when none does
   */
  route(address: IPv4): IPv4 {
    for (let attempt = 0; attempt < RETRIES; attempt++) {
      const peer = this.#slot(address);
      this.peer = peer;
      if (peer === 0) return 0;
      const publicIP = Atomics.load(this.#words, this.#layout.address + peer);
      if (this.#slot(address) === peer) return publicIP;
    }
    this.peer = 0;
    return 0;
  }

  /**
   * Index of the peer with this public IP.
   *
   * @returns 0 when none has it
   */
  peerOf(publicIP: IPv4): number {
    const words = this.#words;
    const layout = this.#layout;
    for (let attempt = 0; attempt < RETRIES; attempt++) {
      const version = Atomics.load(words, Word.Version);
      let peer = Atomics.load(words, bucketOf(layout, publicIP));
      // A chain that changes under our feet leads elsewhere, never round in circles for longer than
      // there are peers.
      for (let steps = 0; peer !== 0 && steps <= layout.capacity; steps++) {
        if (Atomics.load(words, layout.address + peer) === publicIP) return peer;
        peer = Atomics.load(words, layout.next + peer);
      }
      if ((version & 1) === 0 && Atomics.load(words, Word.Version) === version) return 0;
    }
    return 0;
  }

  /** True when `address` lies in the network. */
  inNetwork(address: IPv4): boolean {
    return ((address & this.#layout.mask) >>> 0) === this.#layout.network;
  }

  /** True when `address` lies in our own lease; without a lease nothing does. */
  inOwnLease(address: IPv4): boolean {
    const mask = Atomics.load(this.#words, Word.OwnMask);
    return ((address & mask) >>> 0) === Atomics.load(this.#words, Word.OwnAddress);
  }

  /** True when datagrams from any address are taken. */
  get acceptAny(): boolean {
    return (Atomics.load(this.#words, Word.Flags) & Flag.AcceptAny) !== 0;
  }

  /** True when inner sources outside the network are refused. */
  get strictSource(): boolean {
    return (Atomics.load(this.#words, Word.Flags) & Flag.StrictSource) !== 0;
  }

  /** True once the worker is to end. */
  get stopped(): boolean {
    return Atomics.load(this.#words, Word.Stop) !== 0;
  }

  #slot(address: IPv4): number {
    if (!this.inNetwork(address)) return 0;
    const layout = this.#layout;
    const offset = address - layout.network;
    const slot = Atomics.load(this.#words, layout.coarse + (offset >>> layout.coarseShift));
    return slot === FINE
      ? Atomics.load(this.#words, layout.fine + (offset >>> layout.fineShift))
      : slot;
  }
}

/** How often a lookup starts again when the table changed meanwhile. */
const RETRIES = 4;
