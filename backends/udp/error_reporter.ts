import type { PacketDevice } from "./device.ts";
import { FrameVector } from "./packet/frames.ts";
import { MAX_ERROR, mayReport, writeUnreachable } from "./packet/icmp.ts";
import type { PacketMemory } from "./packet/memory.ts";
import type { PeerLookup } from "./peer_lookup.ts";

/** ICMP errors a second and in one burst: the kernel's own limits (icmp(7): icmp_msgs_per_sec). */
const RATE = 1000;
const BURST = 50;

/**
 * Tells local senders by ICMP what becomes of their packets. The errors go to the device, as if
 * they came from the network, and no more of them than the kernel itself would send: a scan through
 * unallocated subnets must not cost a write for each probe.
 */
export class ErrorReporter {
  readonly #memory: PacketMemory;
  readonly #device: PacketDevice;
  readonly #peers: PeerLookup;
  readonly #now: () => number;
  readonly #buffer: number;
  readonly #frame = new FrameVector(1);
  #tokens = BURST;
  #filled: number;

  /** @param now milliseconds */
  constructor(
    memory: PacketMemory,
    device: PacketDevice,
    peers: PeerLookup,
    now: () => number = () => performance.now(),
  ) {
    this.#memory = memory;
    this.#device = device;
    this.#peers = peers;
    this.#now = now;
    this.#buffer = memory.allocate(MAX_ERROR);
    this.#filled = now();
  }

  /**
   * Reports about the packet at `offset`, unless none may be sent about it, there are too many, or
   * we have no address to send from.
   *
   * @param mtu for code 4: what fits, in bytes
   * @returns true when the device took the error
   */
  report(offset: number, code: number, mtu: number): boolean {
    const source = this.#peers.ownAddress;
    if (source === 0 || !mayReport(this.#memory.view, offset) || !this.#takeToken()) return false;
    const length = writeUnreachable(this.#memory, this.#buffer, source, offset, code, mtu);
    this.#frame.clear();
    this.#frame.push(this.#buffer, length, false);
    return this.#device.write(this.#frame, 0) > 0;
  }

  #takeToken(): boolean {
    const now = this.#now();
    this.#tokens = Math.min(BURST, this.#tokens + (now - this.#filled) * (RATE / 1000));
    this.#filled = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
