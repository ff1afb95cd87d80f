import { TokenBucket } from "../../../mod/async/token_bucket.ts";
import type { PacketDevice } from "./device.ts";
import { FrameVector } from "./packet/frames.ts";
import { MAX_ERROR, mayReport, writeUnreachable } from "./packet/icmp.ts";
import type { PacketMemory } from "./packet/memory.ts";

/** ICMP errors a second and in a burst: the kernel's own limits (icmp(7): icmp_msgs_per_sec). */
const RATE = 1000;
const BURST = 50;

/**
 * Sends ICMP errors to local senders. Writes them to the device as if they came from the network, at the kernel's own
 * rate limit, so that a scan of unallocated subnets does not cost a write for each probe.
 */
export class ErrorReporter {
  readonly #memory: PacketMemory;
  readonly #device: PacketDevice;
  readonly #now: () => number;
  readonly #buffer: number;
  readonly #frame = new FrameVector(1);
  readonly #bucket: TokenBucket;

  /** @param now clock in milliseconds */
  constructor(
    memory: PacketMemory,
    device: PacketDevice,
    now: () => number = () => performance.now(),
  ) {
    this.#memory = memory;
    this.#device = device;
    this.#now = now;
    this.#buffer = memory.allocate(MAX_ERROR);
    this.#bucket = new TokenBucket(RATE, BURST, now());
  }

  /**
   * Sends an error about the packet at `offset`, unless the RFCs forbid it or the rate limit is reached.
   *
   * @param mtu path MTU in bytes, for code 4
   * @returns true when the error was written to the device
   */
  report(offset: number, code: number, mtu: number): boolean {
    if (!mayReport(this.#memory.view, offset, code)) return false;
    if (this.#bucket.take(this.#now()) > 0) return false;
    const length = writeUnreachable(this.#memory, this.#buffer, offset, code, mtu);
    this.#frame.clear();
    this.#frame.push(this.#buffer, length, false);
    return this.#device.write(this.#frame, 0) > 0;
  }
}
