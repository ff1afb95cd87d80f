import type { PacketDevice } from "./device.ts";
import { FrameVector } from "./packet/frames.ts";
import { MAX_ERROR, mayReport, writeUnreachable } from "./packet/icmp.ts";
import type { PacketMemory } from "./packet/memory.ts";

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
  readonly #now: () => number;
  readonly #buffer: number;
  readonly #frame = new FrameVector(1);
  #tokens = BURST;
  #filled: number;

  /** @param now milliseconds */
  constructor(
    memory: PacketMemory,
    device: PacketDevice,
    now: () => number = () => performance.now(),
  ) {
    this.#memory = memory;
    this.#device = device;
    this.#now = now;
    this.#buffer = memory.allocate(MAX_ERROR);
    this.#filled = now();
  }

  /**
   * Reports about the packet at `offset`, unless none may be sent about it or there are too many.
   *
   * @param mtu for code 4: what fits, in bytes
   * @returns true when the device took the error
   */
  report(offset: number, code: number, mtu: number): boolean {
    if (!mayReport(this.#memory.view, offset, code) || !this.#takeToken()) return false;
    const length = writeUnreachable(this.#memory, this.#buffer, offset, code, mtu);
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
