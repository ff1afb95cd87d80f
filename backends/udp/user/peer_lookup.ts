import type { IPv4 } from "../../../mod/ip/mod.ts";
import { bucketOf, FINE, Flag, type TableLayout, Word } from "./table_layout.ts";

/** Memory and layout of a peer table, as sent to a worker. */
export interface SharedPeerTable {
  readonly memory: SharedArrayBuffer;
  readonly layout: TableLayout;
}

/**
 * A worker's view of the peer table. It reads memory that the main isolate writes, without locks and without waiting.
 *
 * That is safe: a slot is one 32-bit word, so a lookup sees the state before or after a change. A peer's index may be
 * reused once no slot has it. A lookup that reads the index before and the address after that would mix two peers;
 * therefore it reads the slot again, and if that is unchanged the two belong together. Each retry means that the main
 * isolate has written meanwhile. After {@linkcode RETRIES} retries the lookup finds no peer, and the packet is lost.
 */
export class PeerLookup {
  readonly #words: Uint32Array<SharedArrayBuffer>;
  readonly #layout: TableLayout;
  /** Index of the peer that the last {@linkcode PeerLookup.route} found; 0 for none. */
  peer = 0;

  constructor(shared: SharedPeerTable) {
    this.#words = new Uint32Array(shared.memory);
    this.#layout = shared.layout;
  }

  /**
   * Finds the public IP of the peer with the longest lease that contains `address`, in constant time.
   *
   * @returns 0 for none
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
   * Finds the index of the peer with a public IP.
   *
   * @returns 0 for none
   */
  peerOf(publicIP: IPv4): number {
    const words = this.#words;
    const layout = this.#layout;
    for (let attempt = 0; attempt < RETRIES; attempt++) {
      const version = Atomics.load(words, Word.Version);
      let peer = Atomics.load(words, bucketOf(layout, publicIP));
      // A chain that changes meanwhile may lead into another one, or in a circle: hence the limit.
      for (let steps = 0; peer !== 0 && steps <= layout.capacity; steps++) {
        if (Atomics.load(words, layout.address + peer) === publicIP) return peer;
        peer = Atomics.load(words, layout.next + peer);
      }
      if ((version & 1) === 0 && Atomics.load(words, Word.Version) === version) return 0;
    }
    return 0;
  }

  /** Returns whether `address` is in the network. */
  inNetwork(address: IPv4): boolean {
    return ((address & this.#layout.mask) >>> 0) === this.#layout.network;
  }

  /** Returns whether `address` is in this host's lease; false without a lease. */
  inOwnLease(address: IPv4): boolean {
    const mask = Atomics.load(this.#words, Word.OwnMask);
    return ((address & mask) >>> 0) === Atomics.load(this.#words, Word.OwnAddress);
  }

  /** True when datagrams from any address are accepted. */
  get acceptAny(): boolean {
    return (Atomics.load(this.#words, Word.Flags) & Flag.AcceptAny) !== 0;
  }

  /** True when inner sources outside the network are dropped. */
  get strictSource(): boolean {
    return (Atomics.load(this.#words, Word.Flags) & Flag.StrictSource) !== 0;
  }

  /** True once the stop flag is set. */
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

/** Attempts of a lookup whose table changes meanwhile. */
const RETRIES = 4;
