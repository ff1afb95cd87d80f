import type { IPv4 } from "../../mod/ip/mod.ts";

/** How long an answer is believed, in milliseconds. */
const BELIEVED = 60_000;

/** Which peers are on-link, for DirectRouting: each is looked up once a minute, and forgotten after. */
export class DirectPeers {
  readonly #lookUp: (address: IPv4) => boolean;
  readonly #now: () => number;
  /** In the order in which their time is over. */
  readonly #answers = new Map<IPv4, { readonly direct: boolean; readonly until: number }>();

  /**
   * @param lookUp asks the kernel
   * @param now a clock in milliseconds. @default performance.now
   */
  constructor(
    lookUp: (address: IPv4) => boolean,
    now: () => number = () => performance.now(),
  ) {
    this.#lookUp = lookUp;
    this.#now = now;
  }

  /** How many answers are kept. */
  get size(): number {
    return this.#answers.size;
  }

  /** True when packets to the address need no tunnel. */
  has(address: IPv4): boolean {
    const now = this.#now();
    for (const [address, { until }] of this.#answers) {
      if (until > now) break;
      this.#answers.delete(address);
    }
    const known = this.#answers.get(address);
    if (known !== undefined) return known.direct;
    const direct = this.#lookUp(address);
    this.#answers.set(address, { direct, until: now + BELIEVED });
    return direct;
  }

  /** Believes no answer any more. */
  clear(): void {
    this.#answers.clear();
  }
}
